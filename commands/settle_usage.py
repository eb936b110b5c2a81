"""Settlement: what ended is charged to its account, and what died with its worker is found, ended and charged.

One owner at a time reads the request log; should there be two, the ledger's cursor and guard charge once.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from commands.store import Cause, EventStore
from domain.errors import LeaseStillHeld, Unavailable
from domain.events import Envelope
from domain.ids import AccountId, CommandId, LeaseId, RequestId
from domain.ledger import LEDGER, Lease, LeaseExpired, Ledger, LedgerEvent, charge, expire_lease
from domain.ports import RequestLog
from domain.request import abandoned
from domain.settlement import OpenRequest, Progress, Settlement

GRACE = timedelta(seconds=10)
"""After a lease's end, before its requests are called abandoned: covers clocks that differ and writes under way."""
LEASE_TERM_BOUND = timedelta(minutes=2)
"""No lease can be unseen for longer: an open request without one is abandoned after this."""
ACCOUNTS_AT_ONCE = 16

logger = structlog.get_logger()


class ProgressStore(Protocol):
    """Where settlement says how far it is. Losing it costs a longer read, never a charge. Raises Unavailable."""

    async def own(self) -> bool:
        """Become or stay the owner for some seconds; False while another one is."""
        ...

    async def load(self) -> Progress | None: ...

    async def save(self, progress: Progress) -> None: ...


class OpenLeases(Protocol):
    """The leases that are open now, as a live tail of the ledger knows them."""

    def by_account(self) -> Sequence[tuple[AccountId, LeaseId, Lease]]: ...

    def find(self, account_id: AccountId, lease_id: LeaseId) -> Lease | None: ...

    @property
    def caught_up(self) -> bool: ...


class SettleUsage:
    """Feed it the request log with `apply`, and call `tick` a few times a second."""

    def __init__(
        self,
        store: EventStore,
        requests: RequestLog,
        leases: OpenLeases,
        progress: ProgressStore,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._requests = requests
        self._leases = leases
        self._progress = progress
        self._clock = clock
        self._new_id = new_id
        self._settlement = Settlement()
        self._evt_position = 0
        self._ending: set[RequestId] = set()
        self._saved: Progress | None = None

    async def resume(self) -> int:
        """Start over from what is stored; the position after which to read the request log."""
        stored = await self._progress.load()
        start = stored.resume_position if stored else 0
        self._settlement = Settlement(start, stored.writers if stored else {})
        self._evt_position = stored.evt_position if stored else 0
        self._ending.clear()
        self._saved = None
        return start

    @property
    def position(self) -> int:
        """The last message that was folded."""
        return self._settlement.position

    def apply(self, position: int, batch: Sequence[Envelope]) -> None:
        self._settlement.apply(position, batch)
        self._ending.intersection_update(self._settlement.open)

    async def tick(self, head: int, head_read_at: datetime, *, bury: bool = True) -> None:
        """Charge what is due; when all that stood in the log at `head_read_at` is folded, bury what died; save.

        Not `bury` where an outage may have kept workers from renewing their leases until a moment ago.
        """
        await self._charge_all()
        if bury and self._settlement.position >= head and self._leases.caught_up:
            await self._end_abandoned(head_read_at)
            await self._expire_leases(head_read_at)
        await self._save()

    async def _charge_all(self) -> None:
        limit = asyncio.Semaphore(ACCOUNTS_AT_ONCE)
        up_to = self._settlement.position

        async def charge_one(account_id: AccountId) -> None:
            async with limit:
                await self._charge(account_id, up_to)

        async with asyncio.TaskGroup() as group:
            for account_id in list(self._settlement.due):
                group.create_task(charge_one(account_id))

    async def _charge(self, account_id: AccountId, up_to: int) -> None:
        """Lines that cost nothing need no ledger event."""
        owed = any(line.cost_nanos for line in self._settlement.due.get(account_id, ()))
        if owed:
            after = await self._change(account_id, lambda ledger: self._decide_charge(account_id, ledger))
            self._evt_position = max(self._evt_position, after)
        self._settlement.forget(account_id, up_to)

    def _decide_charge(self, account_id: AccountId, ledger: Ledger) -> list[LedgerEvent]:
        proposed = self._settlement.propose(account_id, ledger, self._clock())
        return charge(ledger, proposed) if proposed else []

    async def _end_abandoned(self, now: datetime) -> None:
        for request in list(self._settlement.open.values()):
            if request.admitted.request_id not in self._ending and await self._is_abandoned(request, now):
                self._ending.add(request.admitted.request_id)
                logger.warning(
                    "request_abandoned", request_id=request.admitted.request_id, lease=request.admitted.lease_id
                )
                await self._requests.append(abandoned(request.admitted, self._clock()))

    async def _is_abandoned(self, request: OpenRequest, now: datetime) -> bool:
        """The live view may lag behind a renewal: before a request is called dead, its ledger is asked."""
        account_id, lease_id = request.admitted.account_id, request.admitted.lease_id
        if not _is_overdue(request, self._leases.find(account_id, lease_id), now):
            return False
        ledger = (await self._store.load(LEDGER, LEDGER.at(account_id))).state
        return _is_overdue(request, ledger.leases.get(lease_id), now)

    async def _expire_leases(self, now: datetime) -> None:
        """Only once nothing is open or unpaid under a lease may the rest of it be free again."""
        for account_id, lease_id, lease in self._leases.by_account():
            if lease.expires_at + GRACE < now and not self._settlement.holds(account_id, lease_id):
                proposed = LeaseExpired(account_id=account_id, at=now, lease_id=lease_id)
                try:
                    await self._change(account_id, lambda ledger, fact=proposed: expire_lease(ledger, fact))
                except LeaseStillHeld:
                    continue

    async def _change(self, account_id: AccountId, decide: Callable[[Ledger], list[LedgerEvent]]) -> int:
        cause = Cause(CommandId(self._new_id()), self._clock(), actor="settlement")
        return (await self._store.change(LEDGER, LEDGER.at(account_id), decide, cause)).position

    async def _save(self) -> None:
        resume = self._settlement.resume_position
        progress = Progress(
            resume_position=resume,
            settled_position=self._settlement.settled_position,
            evt_position=self._evt_position,
            writers=self._settlement.resumable_writers(resume),
            open_requests=len(self._settlement.open),
            open_leases=len(self._leases.by_account()),
            oldest_open_at=self._settlement.oldest_open_at,
        )
        if progress != self._saved:
            try:
                await self._progress.save(progress)
            except Unavailable as error:
                logger.warning("settlement_progress_not_saved", reason=str(error))
                return
            self._saved = progress


def _is_overdue(request: OpenRequest, lease: Lease | None, now: datetime) -> bool:
    if lease is None:
        return request.admitted.at + LEASE_TERM_BOUND < now
    return lease.expires_at + GRACE < now
