"""Verifying `REQ`: every writer's events are all there, every request has one admission, all of its attempts and then
one end, every cost is charged once. An answer from the cache is admission and end at once.

What is kept grows with open requests and with 8 bytes a request. What looks wrong after the first reading is explained
by a second one, which is only needed then.
"""

import hashlib
from array import array
from collections import OrderedDict
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec

from domain.events import Envelope, UnknownFact, decode_batch, decode_fact
from domain.fact_check import Charges
from domain.findings import Findings, Order
from domain.ids import RequestId
from domain.money import usd
from domain.ports import LogMessage
from domain.request import RequestAbandoned, RequestAdmitted, RequestAttempted, RequestCached, RequestEnd

CHARGED_WITHIN = timedelta(minutes=10)
"""Settlement ticks a few times a second; what waits longer than this has nobody who charges it."""
WRITERS_COMPARED = 256
EVENTS_COMPARED = 1_024
"""A writer repeats only its last message, of at most 512 events."""


class _Writer(msgspec.Struct):
    last: int = 0
    recent: dict[int, bytes] = {}


class Waiting(msgspec.Struct):
    """Requests that ended, cost something, and are not charged yet."""

    count: int = 0
    cost_nanos: int = 0
    oldest_position: int = 0
    oldest_at: datetime | None = None


class RequestCheck:
    """Feed it `REQ` from its first message on, then `finish`; if it has `doubts`, read again into `explain` and then
    `conclude`."""

    def __init__(self, charges: Charges, findings: Findings) -> None:
        self.messages = self.events = self.duplicates = self.admitted = self.ended = self.void_ends = 0
        self.waiting = Waiting()
        self._charges = charges
        self._findings = findings
        self._order = Order("REQ", findings)
        self._writers: OrderedDict[str, _Writer] = OrderedDict()
        self._open: dict[RequestId, int] = {}
        self._admissions = array("Q")
        self._unmatched: dict[RequestId, int] = {}
        self._suspects: dict[int, dict[RequestId, tuple[int, str]]] = {}

    @property
    def open_requests(self) -> int:
        return len(self._open)

    @property
    def writers(self) -> int:
        return len(self._writers)

    @property
    def doubts(self) -> bool:
        return bool(self._unmatched or self._suspects)

    def apply(self, message: LogMessage) -> None:
        self.messages += 1
        self._order.check(message.position)
        try:
            batch = decode_batch(message.raw)
        except msgspec.DecodeError as unreadable:
            self._report("unreadable", message.position, str(unreadable))
            return
        for envelope in batch:
            self.events += 1
            if self._is_new(message.position, envelope):
                self._fold(message.position, envelope)

    def _is_new(self, position: int, envelope: Envelope) -> bool:
        writer = self._writer(envelope.source)
        digest = hashlib.blake2b(b"|".join((envelope.id.encode(), envelope.data)), digest_size=16).digest()
        if envelope.sequence <= writer.last:
            if writer.recent.get(envelope.sequence) == digest:
                self.duplicates += 1
            else:
                detail = f"event {envelope.sequence} of {envelope.source} is here again, with another content"
                self._report("writer_conflict", position, detail)
            return False
        if envelope.sequence != writer.last + 1:
            detail = f"{envelope.source} wrote event {envelope.sequence} where {writer.last + 1} is due"
            self._report("writer_gap", position, detail)
        writer.last = envelope.sequence
        writer.recent[envelope.sequence] = digest
        writer.recent.pop(envelope.sequence - EVENTS_COMPARED, None)
        return True

    def _writer(self, source: str) -> _Writer:
        """Of those that were silent for long, only the number of the last event is kept."""
        writer = self._writers.setdefault(source, _Writer())
        self._writers.move_to_end(source)
        if len(self._writers) > WRITERS_COMPARED and not writer.last:
            quiet = list(self._writers.values())[-WRITERS_COMPARED - 1]
            quiet.recent = {}
        return writer

    def _fold(self, position: int, envelope: Envelope) -> None:
        try:
            fact = decode_fact(envelope)
        except UnknownFact as unknown:
            self._report("unknown_fact", position, str(unknown))
            return
        except msgspec.DecodeError as unreadable:
            self._report("unreadable", position, f"{envelope.id}: {unreadable}")
            return
        if isinstance(fact, RequestAdmitted | RequestCached):
            self.admitted += 1
            self._admissions.append(_hash(fact.request_id))
        if isinstance(fact, RequestAdmitted):
            self._open.setdefault(fact.request_id, 0)
        elif isinstance(fact, RequestCached):
            if fact.request_id not in self._open:
                self._count(position, fact)
        elif isinstance(fact, RequestAttempted):
            self._attempt(position, fact)
        elif isinstance(fact, RequestEnd):
            self._end(position, fact)

    def _attempt(self, position: int, fact: RequestAttempted) -> None:
        """After the end it is void, as a second end is; the first end then says that it is missing."""
        attempts = self._open.get(fact.request_id)
        if attempts is None:
            return
        if fact.number != attempts + 1:
            detail = f"{fact.request_id} has attempt {fact.number} here, where {attempts + 1} is due"
            self._report("attempt_gap", position, detail)
        self._open[fact.request_id] = fact.number

    def _end(self, position: int, fact: RequestEnd) -> None:
        if fact.request_id not in self._open:
            self._unmatched.setdefault(fact.request_id, position)
            return
        attempts = self._open.pop(fact.request_id)
        if not isinstance(fact, RequestAbandoned) and not attempts <= fact.attempts <= attempts + 1:
            detail = (
                f"{fact.request_id} ends here after {fact.attempts} attempts, and {attempts} that failed are recorded"
            )
            self._report("attempt_gap", position, detail)
        self._count(position, fact)

    def _count(self, position: int, fact: RequestEnd) -> None:
        """It is the end that counts."""
        self.ended += 1
        charged = self._charges.explain(fact.account_id, position, fact.cost_nanos)
        if fact.cost_nanos and not charged:
            waiting = self.waiting
            waiting.count += 1
            waiting.cost_nanos += fact.cost_nanos
            if waiting.oldest_at is None:
                waiting.oldest_position, waiting.oldest_at = position, fact.at

    def finish(self, now: datetime) -> None:
        """After the last message: compare charges with costs, and find what needs a second look."""
        for position, account, difference in self._charges.unexplained():
            more = "more" if difference > 0 else "less"
            detail = f"charges {account} {usd(abs(difference))} USD {more} than the requests of its range cost"
            self._findings.add("charge_differs", "EVT", position, detail)
        waiting = self.waiting
        if waiting.oldest_at is not None and waiting.oldest_at + CHARGED_WITHIN < now:
            detail = f"{waiting.count} ended requests ({usd(waiting.cost_nanos)} USD) from here on are not charged"
            self._report("uncharged", waiting.oldest_position, detail)
        hashes = sorted(self._admissions)
        self._suspects = {left: {} for left, right in pairwise(hashes) if left == right}

    def explain(self, message: LogMessage) -> None:
        """The second reading: was an end without an open request ended before, and who was admitted twice?"""
        try:
            batch = decode_batch(message.raw)
        except msgspec.DecodeError:
            return
        for envelope in batch:
            fact = _readable(envelope)
            if isinstance(fact, RequestAdmitted | RequestCached):
                self._explain(message.position, envelope, fact.request_id)

    def _explain(self, position: int, envelope: Envelope, request_id: RequestId) -> None:
        if position <= self._unmatched.get(request_id, 0):
            del self._unmatched[request_id]
            self.void_ends += 1
        seen = self._suspects.get(_hash(request_id))
        if seen is None:
            return
        first = seen.setdefault(request_id, (position, envelope.id))
        if first[1] != envelope.id:
            self._report("admitted_twice", position, f"{request_id} was admitted before, at REQ:{first[0]}")

    def conclude(self) -> None:
        for request_id, position in self._unmatched.items():
            detail = f"{request_id} ends here and was never admitted before"
            self._report("end_without_admission", position, detail)

    def _report(self, code: str, position: int, detail: str) -> None:
        self._findings.add(code, "REQ", position, detail)


def _readable(envelope: Envelope) -> Any:
    try:
        return decode_fact(envelope)
    except (UnknownFact, msgspec.DecodeError):
        return None


def _hash(ident: str) -> int:
    return int.from_bytes(hashlib.blake2b(ident.encode(), digest_size=8).digest(), "big")
