"""Settlement: fold the request log into what each account owes and which requests are still open.

Pure and rebuilt from the log: reading from `resume_position` gives the same result as reading from the start,
because everything before it has ended and is charged. The ledger's own cursor makes charging twice impossible.

A request is new, then open, then ended. New: an admission opens it, an answer from the cache ends it at once, and any
other end is void. Open: its first end counts; another admission, or an answer from the cache, is void. Ended: all is
void. No worker writes an id that it has ended again; `ENDED_KEPT` of them are remembered, should one do so.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from domain.events import Envelope, decode_fact
from domain.ids import AccountId, LeaseId, RequestId
from domain.ledger import Ledger, ModelUsage, UsageCharged
from domain.pricing import TOKEN_CLASSES, Tokens
from domain.request import RequestAdmitted, RequestCached, RequestEnd

WRITERS_KEPT = 4096
ENDED_KEPT = 65_536


class OpenRequest(msgspec.Struct, frozen=True):
    admitted: RequestAdmitted
    position: int


class Line(msgspec.Struct, frozen=True):
    """One ended request: where its end and its admission stand in the request log, and what it costs."""

    position: int
    admitted_position: int
    lease_id: LeaseId
    model: str
    cost_nanos: int
    tokens: Tokens


class Progress(msgspec.Struct, frozen=True):
    """`evt_position` is the last charge's place in EVT: who waits for `settled_position` must have read up to there."""

    resume_position: int
    settled_position: int
    evt_position: int
    writers: dict[str, int]
    open_requests: int = 0
    open_leases: int = 0
    oldest_open_at: datetime | None = None


class Settlement:
    """`position` is the last message folded. `writers` is the last event number of each writer, up to `start`."""

    def __init__(self, start: int = 0, writers: dict[str, int] | None = None) -> None:
        self.position = start
        self.open: dict[RequestId, OpenRequest] = {}
        self.due: dict[AccountId, list[Line]] = {}
        self._ended: set[RequestId] = set()
        self._ended_in_turn: deque[RequestId] = deque()
        self._writers = dict(writers or {})
        self._resumable_writers = dict(self._writers)
        self._recent: deque[tuple[int, str, int]] = deque()

    def apply(self, position: int, batch: Sequence[Envelope]) -> None:
        """Fold one message. Events that a retry wrote again, and ends after the first, change nothing."""
        for envelope in batch:
            if envelope.sequence > self._writers.get(envelope.source, 0):
                _note(self._writers, envelope.source, envelope.sequence)
                self._recent.append((position, envelope.source, envelope.sequence))
                self._fold(position, decode_fact(envelope))
        self.position = position

    def _fold(self, position: int, fact: object) -> None:
        if isinstance(fact, RequestAdmitted):
            if fact.request_id not in self._ended:
                self.open.setdefault(fact.request_id, OpenRequest(fact, position))
        elif isinstance(fact, RequestCached):
            if fact.request_id not in self._ended and fact.request_id not in self.open:
                self._end(position, position, fact)
        elif isinstance(fact, RequestEnd) and (request := self.open.pop(fact.request_id, None)):
            self._end(position, request.position, fact)

    def _end(self, position: int, admitted_position: int, end: RequestEnd) -> None:
        """A free answer from the cache owes nothing and holds nothing."""
        self._ended.add(end.request_id)
        self._ended_in_turn.append(end.request_id)
        if len(self._ended_in_turn) > ENDED_KEPT:
            self._ended.remove(self._ended_in_turn.popleft())
        if end.cost_nanos or not isinstance(end, RequestCached):
            line = Line(position, admitted_position, end.lease_id, end.model, end.cost_nanos, end.tokens)
            self.due.setdefault(end.account_id, []).append(line)

    def propose(self, account_id: AccountId, ledger: Ledger, at: datetime) -> UsageCharged | None:
        """The charge for all lines that the ledger has not settled, None when nothing is owed."""
        lines = [line for line in self.due.get(account_id, ()) if line.position > ledger.settled_to]
        if not any(line.cost_nanos for line in lines):
            return None
        return UsageCharged(
            account_id=account_id,
            at=at,
            from_position=ledger.settled_to,
            to_position=lines[-1].position,
            amount_nanos=sum(line.cost_nanos for line in lines),
            by_lease=_by_lease(lines),
            by_model=_by_model(lines),
        )

    def forget(self, account_id: AccountId, up_to: int) -> None:
        """The lines up to `up_to` are charged or cost nothing."""
        rest = [line for line in self.due.get(account_id, ()) if line.position > up_to]
        if rest:
            self.due[account_id] = rest
        else:
            self.due.pop(account_id, None)

    def holds(self, account_id: AccountId, lease_id: LeaseId) -> bool:
        """Whether a request under the lease is open, or ended and not charged yet."""
        return any(line.lease_id == lease_id for line in self.due.get(account_id, ())) or any(
            request.admitted.lease_id == lease_id for request in self.open.values()
        )

    @property
    def settled_position(self) -> int:
        """Everything up to here that ended is charged."""
        unpaid = min((lines[0].position for lines in self.due.values()), default=None)
        return self.position if unpaid is None else unpaid - 1

    @property
    def resume_position(self) -> int:
        """Everything admitted up to here has ended and is charged: where the next owner starts reading."""
        admissions = [request.position for request in self.open.values()]
        admissions += [line.admitted_position for lines in self.due.values() for line in lines]
        return min(admissions, default=self.position + 1) - 1

    def resumable_writers(self, resume_position: int) -> dict[str, int]:
        """The writers' last event numbers as of `resume_position`, which never moves back."""
        while self._recent and self._recent[0][0] <= resume_position:
            _, source, sequence = self._recent.popleft()
            _note(self._resumable_writers, source, sequence)
        return dict(self._resumable_writers)

    @property
    def oldest_open_at(self) -> datetime | None:
        return min((request.admitted.at for request in self.open.values()), default=None)


def _note(writers: dict[str, int], source: str, sequence: int) -> None:
    """Keep the writers that wrote last. A writer is one run of a process, and retries within seconds."""
    writers.pop(source, None)
    writers[source] = sequence
    if len(writers) > WRITERS_KEPT:
        del writers[next(iter(writers))]


def _by_lease(lines: Iterable[Line]) -> dict[LeaseId, int]:
    spent: dict[LeaseId, int] = {}
    for line in lines:
        spent[line.lease_id] = spent.get(line.lease_id, 0) + line.cost_nanos
    return spent


def _by_model(lines: Iterable[Line]) -> dict[str, ModelUsage]:
    usage: dict[str, ModelUsage] = {}
    for line in lines:
        before = usage.get(line.model, ModelUsage(0, 0))
        usage[line.model] = ModelUsage(
            before.requests + 1, before.cost_nanos + line.cost_nanos, _sum(before.tokens, line.tokens)
        )
    return usage


def _sum(left: Tokens, right: Tokens) -> Tokens:
    return Tokens(*(getattr(left, name) + getattr(right, name) for name in TOKEN_CLASSES))
