"""The logs in memory: what a test or a dry run uses, held to the contract of the real ones."""

import bisect
from collections import defaultdict
from collections.abc import Sequence

from adapters.guarded_writes import MAX_EVENTS
from domain.aggregate import Address
from domain.errors import ConcurrentWrite
from domain.events import decode_envelope
from domain.ports import Append, Recorded
from domain.request import RequestEvent


class InMemoryEventLog:
    def __init__(self) -> None:
        self._last = 0
        self._subjects: defaultdict[str, list[Recorded]] = defaultdict(list)

    async def last(self, address: Address) -> Recorded | None:
        events = self._subjects[address.subject]
        return events[-1] if events else None

    async def history(self, address: Address, after: int = 0) -> list[Recorded]:
        events = self._subjects[address.subject]
        return events[bisect.bisect_right(events, after, key=_position) :]

    async def append(self, appends: Sequence[Append]) -> list[int]:
        _check(appends)
        if appends and (known := self._positions(appends)):
            return known
        for append in appends:
            events = self._subjects[append.address.subject]
            if (events[-1].position if events else 0) != append.expected:
                raise ConcurrentWrite("Another writer was first; decide again.")
        return [self._write(append) for append in appends]

    def _positions(self, appends: Sequence[Append]) -> list[int] | None:
        """Where the events of this very append are, if it was made before."""
        positions: list[int] = []
        for append in appends:
            events = self._subjects[append.address.subject]
            start = bisect.bisect_right(events, append.expected, key=_position)
            written = events[start : start + len(append.events)]
            if [event.envelope.id for event in written] != [ident for ident, _ in append.events]:
                return None
            positions.append(written[-1].position)
        return positions

    def _write(self, append: Append) -> int:
        for _, raw in append.events:
            self._last += 1
            self._subjects[append.address.subject].append(Recorded(decode_envelope(raw), self._last, raw))
        return self._last


class InMemoryRequestLog:
    """`events` is what was recorded, in order; an event's sequence is its place in it, from 1."""

    def __init__(self) -> None:
        self.events: list[RequestEvent] = []

    async def append(self, event: RequestEvent) -> int:
        self.events.append(event)
        return len(self.events)


def _position(recorded: Recorded) -> int:
    return recorded.position


def _check(appends: Sequence[Append]) -> None:
    idents = [ident for append in appends for ident, _ in append.events]
    if len(idents) > MAX_EVENTS:
        raise ValueError(f"{len(idents)} events in one append, at most {MAX_EVENTS} fit")
    if not all(append.events for append in appends):
        raise ValueError("an append without events")
    if len(set(idents)) < len(idents) or len({append.address.subject for append in appends}) < len(appends):
        raise ValueError("an append names an event id or a subject twice")
