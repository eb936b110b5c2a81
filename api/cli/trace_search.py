"""Finding one request's events in the log: by the read models where they know, by reading where they do not.

The read models only say where to look; what is shown is what stands there.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from adapters.jetstream_reads import StoredMessage, last_sequence, message_at
from adapters.log_reader import read_stream
from api.cli.log_access import LogAccess, envelopes_in, windows_back
from api.cli.log_lines import readable
from domain.errors import Unavailable
from domain.events import Envelope
from domain.findings import Stream
from domain.ids import AccountId, LeaseId, RequestId
from domain.ledger import LEDGER, CreditLeased, UsageCharged
from domain.ports import Database
from domain.request import NO_LEASE, RequestAdmitted, RequestAttempted, RequestCached, RequestEnd
from projections.ledger_entries import LEDGER_ENTRIES, locate_charge
from projections.positions import read_positions
from projections.request_attempts import locate_attempts
from projections.requests import REQUESTS, locate_request

Advance = Callable[[int], None]


class Step(msgspec.Struct, frozen=True):
    stream: Stream
    position: int
    envelope: Envelope
    fact: Any


class Trace(msgspec.Struct):
    """`attempts` are those that failed and were followed by another. `void` are ends after the first; they change
    nothing. An answer from the cache is both `admitted` and `ended`. `found_by` says where the positions are from."""

    admitted: Step | None = None
    ended: Step | None = None
    leased: Step | None = None
    charged: Step | None = None
    attempts: list[Step] = []
    void: list[Step] = []
    found_by: str = ""

    @property
    def steps(self) -> list[Step]:
        """In the order in which they happened."""
        ended = self.ended if self.ended is not self.admitted else None
        parts = (self.leased, self.admitted, *self.attempts, ended, *self.void, self.charged)
        return [step for step in parts if step is not None]


class TraceSearch:
    """`scan` leaves the read models aside; `advance` hears how many messages were read."""

    def __init__(self, access: LogAccess, request_id: RequestId, *, scan: bool, advance: Advance) -> None:
        self._nats = access.nats
        self._database = None if scan else access.database
        self._scan = scan
        self._request_id = request_id
        self._advance = advance
        self.trace = Trace()

    async def run(self) -> Trace:
        """Without `admitted` in it there is no such request."""
        if self._database is None or not await self._ask_read_model(self._database):
            why = "as --scan asks" if self._scan else "because Postgres does not answer"
            self.trace = Trace(found_by=f"reading REQ backwards, {why}")
            await self._search_back()
        admitted = self.trace.admitted
        if admitted is not None:
            await self._find_charge(admitted.fact.account_id)
            if admitted.fact.lease_id != NO_LEASE:
                await self._find_lease(admitted.fact.account_id, admitted.fact.lease_id)
        return self.trace

    async def _ask_read_model(self, database: Database) -> bool:
        """False when it cannot say. What it has not read yet is read here."""
        try:
            reached = (await read_positions(database, REQUESTS)).positions.get("REQ", 0)
            place = await locate_request(database, self._request_id)
            attempts = await locate_attempts(database, self._request_id)
        except Unavailable:
            self._database = None
            return False
        self.trace.found_by = "the read model `requests`"
        admitted, ended = place or (None, None)
        for position in dict.fromkeys((admitted, *attempts, ended)):
            if position is not None and (message := await message_at(self._nats, "REQ", position)):
                self._take(message)
        if self.trace.ended is None:
            self.trace.found_by += f" (up to REQ:{reached}) and reading REQ behind it"
            async for message in read_stream(self._nats, "REQ", start=reached + 1):
                self._take(message)
                self._advance(1)
        return True

    async def _search_back(self) -> None:
        """From the newest message back to the admission: what is recent is found without reading the rest."""
        for start, until in windows_back(await last_sequence(self._nats, "REQ")):
            later = self.trace
            self.trace = Trace(found_by=later.found_by)
            async for message in read_stream(self._nats, "REQ", start=start, until=until):
                self._take(message)
            for step in later.attempts:
                self._take_attempt(step)
            for step in (later.ended, *later.void):
                self._take_end(step)
            self._advance(until - start + 1)
            if self.trace.admitted is not None:
                return

    def _take(self, message: StoredMessage) -> None:
        if self._request_id.encode() not in message.raw:
            return
        for envelope in envelopes_in("REQ", message.raw):
            fact = readable(envelope)
            if getattr(fact, "request_id", None) != self._request_id:
                continue
            step = Step("REQ", message.sequence, envelope, fact)
            if isinstance(fact, RequestAdmitted):
                self.trace.admitted = self.trace.admitted or step
            elif isinstance(fact, RequestCached) and self.trace.admitted is None:
                self.trace.admitted = self.trace.ended = step
            elif isinstance(fact, RequestAttempted):
                self._take_attempt(step)
            elif isinstance(fact, RequestEnd):
                self._take_end(step)

    def _take_attempt(self, step: Step) -> None:
        if step.envelope.id not in [known.envelope.id for known in self.trace.attempts]:
            self.trace.attempts.append(step)

    def _take_end(self, step: Step | None) -> None:
        """The first end counts; an event that a retry wrote again is the same event."""
        if step is None:
            return
        known = [end.envelope.id for end in (self.trace.ended, *self.trace.void) if end]
        if self.trace.ended is None:
            self.trace.ended = step
        elif step.envelope.id not in known:
            self.trace.void.append(step)

    async def _find_charge(self, account_id: AccountId) -> None:
        if self.trace.ended is None:
            return
        end = self.trace.ended.position
        first, position = 1, None
        if self._database is not None:
            first = 1 + (await read_positions(self._database, LEDGER_ENTRIES)).positions.get("EVT", 0)
            position = await locate_charge(self._database, account_id, end)
        if position is not None and (message := await message_at(self._nats, "EVT", position)):
            steps = _steps([message])
        else:
            steps = self._ledger_back(account_id, first, await last_sequence(self._nats, "EVT"))
        async for step in _each(steps):
            if isinstance(step.fact, UsageCharged):
                if step.fact.from_position < end <= step.fact.to_position:
                    self.trace.charged = step
                if step.fact.from_position < end:
                    return

    async def _find_lease(self, account_id: AccountId, lease_id: LeaseId) -> None:
        last = self.trace.charged.position if self.trace.charged else await last_sequence(self._nats, "EVT")
        async for step in self._ledger_back(account_id, 1, last):
            if isinstance(step.fact, CreditLeased) and step.fact.lease_id == lease_id:
                self.trace.leased = step
                return

    async def _ledger_back(self, account_id: AccountId, first: int, last: int) -> AsyncGenerator[Step]:
        """The account's ledger, newest first."""
        subject = LEDGER.at(account_id).subject
        for start, until in windows_back(last, first):
            window = read_stream(self._nats, "EVT", start=start, until=until, subject=subject)
            for step in reversed(_steps([message async for message in window])):
                yield step


def _steps(messages: list[StoredMessage]) -> list[Step]:
    found: list[Step] = []
    for message in messages:
        for envelope in envelopes_in("EVT", message.raw):
            found.append(Step("EVT", message.sequence, envelope, readable(envelope)))
    return found


async def _each(steps: list[Step] | AsyncGenerator[Step]) -> AsyncGenerator[Step]:
    if isinstance(steps, list):
        for step in steps:
            yield step
    else:
        async for step in steps:
            yield step
