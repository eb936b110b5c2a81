"""From messages to the events that one projection may fold.

Left out are: events that a writer's retry wrote twice, accounts of other owners, ends and attempts of requests that
have ended already (the first end in the log counts), answers from the cache to requests that are open, facts that the
projection does not read. Set aside, visibly, are events that cannot be read, and all later ones of the same account.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain.events import FACTS, Envelope, decode_batch, decode_envelope, decode_fact, tag_of
from domain.ids import bucket_of
from domain.ports import LogMessage
from domain.request import RequestAdmitted, RequestCached, RequestEnd
from domain.upcasting import current_tag
from projections.projection import Claim, Event, Projection

NO_ACCOUNT = ""
LONGEST_ERROR = 500
Place = tuple[int, int]
"""Where an event stands in its stream: position of the message, index within it."""

ENDS = frozenset(tag for tag, fact in FACTS.items() if issubclass(fact, RequestEnd))
ADMITTED = RequestAdmitted.__struct_config__.tag
CACHED = RequestCached.__struct_config__.tag


class Parked(msgspec.Struct, frozen=True):
    message: LogMessage
    index: int
    account_id: str
    type: str
    raw: bytes
    error: str
    is_cause: bool


class Batch(msgspec.Struct):
    """Some messages of a stream, read, and how they changed what the intake knows."""

    first: int
    last: int
    time: datetime
    events: list[Any]
    parked: list[Parked]
    writers: dict[str, int]
    opened: dict[str, tuple[str, int]]
    closed: list[str]


class Known(msgspec.Struct):
    """What must be known of earlier messages; loaded with the checkpoint and kept in step with it."""

    writers: dict[str, int] = {}
    open_requests: set[str] = set()
    parked_accounts: set[str] = set()


class Intake:
    """Reads for one claim. Changes what it knows as it reads: after any failure make a new one from the checkpoint.

    `poison` names the events whose rows were refused, with the reason.
    """

    def __init__(self, projection: Projection[Any], claim: Claim, known: Known, poison: dict[Place, str]) -> None:
        self._tags = projection.tags
        self._whole_messages = projection.facts is None
        self._is_whole = claim.is_whole
        self._buckets = range(claim.bucket_from, claim.bucket_to)
        self._decode: Callable[[bytes], list[Envelope]] = decode_batch if claim.stream == "REQ" else _decode_one
        self._dedupe = claim.stream == "REQ"
        self._known = known
        self._poison = poison

    def read(self, messages: Sequence[LogMessage]) -> Batch:
        last = messages[-1]
        batch = Batch(messages[0].position, last.position, last.time, [], [], {}, {}, [])
        for message in messages:
            if self._whole_messages:
                self._take_message(batch, message)
            else:
                self._read_message(batch, message)
        return batch

    def _take_message(self, batch: Batch, message: LogMessage) -> None:
        if reason := self._poison.get((message.position, 0)):
            batch.parked.append(Parked(message, 0, NO_ACCOUNT, "", message.raw, reason, is_cause=True))
        else:
            batch.events.append(message)

    def _read_message(self, batch: Batch, message: LogMessage) -> None:
        try:
            envelopes: Iterable[tuple[int, Envelope]] = enumerate(self._decode(message.raw))
        except msgspec.DecodeError:
            envelopes = self._salvage(batch, message)
        writers = self._known.writers
        for index, envelope in envelopes:
            if self._dedupe:
                if envelope.sequence <= writers.get(envelope.source, 0):
                    continue
                batch.writers[envelope.source] = writers[envelope.source] = envelope.sequence
            tag = current_tag(envelope.type)
            if tag not in self._tags and tag in FACTS:
                continue
            if self._is_whole or bucket_of(envelope.accountid) in self._buckets:
                self._take(batch, message, index, envelope)

    def _take(self, batch: Batch, message: LogMessage, index: int, envelope: Envelope) -> None:
        if envelope.accountid in self._known.parked_accounts:
            self._park(batch, message, index, envelope, "an earlier event of this account is parked", is_cause=False)
            return
        if self._poison and (reason := self._poison.get((message.position, index))):
            self._park(batch, message, index, envelope, reason, is_cause=True)
            return
        try:
            fact = decode_fact(envelope)
        except Exception as unreadable:
            self._park(batch, message, index, envelope, repr(unreadable), is_cause=True)
            return
        if not self._dedupe or self._counts(batch, message, tag_of(fact), fact):
            batch.events.append(Event(message, index, envelope, fact))

    def _counts(self, batch: Batch, message: LogMessage, tag: str, fact: Any) -> bool:
        open_requests = self._known.open_requests
        ident = fact.request_id
        if tag == CACHED:
            return ident not in open_requests
        if tag in ENDS:
            if ident not in open_requests:
                return False
            open_requests.discard(ident)
            if batch.opened.pop(ident, None) is None:
                batch.closed.append(ident)
        elif tag == ADMITTED:
            if ident in open_requests:
                return False
            open_requests.add(ident)
            batch.opened[ident] = (fact.account_id, message.position)
        elif ident not in open_requests:
            return False
        return True

    def _park(
        self, batch: Batch, message: LogMessage, index: int, envelope: Envelope, error: str, *, is_cause: bool
    ) -> None:
        account = envelope.accountid
        self._known.parked_accounts.add(account)
        raw = msgspec.json.encode(envelope)
        batch.parked.append(
            Parked(message, index, account, envelope.type, raw, error[:LONGEST_ERROR], is_cause=is_cause)
        )

    def _salvage(self, batch: Batch, message: LogMessage) -> list[tuple[int, Envelope]]:
        """The readable envelopes of a message that is not readable as a whole; the others are parked as nobody's."""
        readable: list[tuple[int, Envelope]] = []
        try:
            parts = msgspec.json.decode(message.raw, type=list[msgspec.Raw]) if self._dedupe else [message.raw]
        except msgspec.DecodeError:
            parts = [message.raw]
        for index, part in enumerate(parts):
            try:
                readable.append((index, decode_envelope(bytes(part))))
            except msgspec.DecodeError as unreadable:
                batch.parked.append(
                    Parked(message, index, NO_ACCOUNT, "", bytes(part), repr(unreadable)[:LONGEST_ERROR], is_cause=True)
                )
        return readable


def _decode_one(raw: bytes) -> list[Envelope]:
    return [decode_envelope(raw)]
