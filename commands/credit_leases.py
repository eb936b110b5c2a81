"""Hard budgets: this worker's leases of accounts' credit. Admission is a comparison in memory.

A lease is a hold that the ledger granted this worker. A request reserves the most it may cost from it; its end turns
the reservation into spending. More is leased when it runs short, and what lies idle is given back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec
import structlog

from commands.store import Cause, EventStore
from domain.errors import CreditExhausted, NotFound, Unavailable
from domain.ids import AccountId, CommandId, LeaseId
from domain.ledger import (
    LEDGER,
    CreditLeased,
    LeaseExtended,
    LeaseReturned,
    Ledger,
    LedgerEvent,
    extend_lease,
    lease,
    return_lease,
)

LEASE_TERM = timedelta(seconds=60)
RENEW_BEFORE = timedelta(seconds=30)
SAFETY = timedelta(seconds=10)
"""A lease this close to its end admits nothing more, so that clocks that differ do no harm.

Both are for leases of the usual term, and in proportion for others.
"""
IDLE_AFTER = timedelta(seconds=5)
USUAL_LEASE_NANOS = 500_000_000
REQUESTS_AHEAD = 32
"""A lease is made to hold about this many requests like the one that asked, or the usual amount if more."""
SHARE = 4
"""Beyond its need, a lease takes at most one part in `SHARE` of the free credit, so that other workers find some."""
RECALL_WAITS_S = (0.02, 0.05, 0.1, 0.2)
"""How long to wait for other workers' idle credit before refusing."""

logger = structlog.get_logger()


class Holding:
    """One lease as its worker sees it. `free_nanos` is what may still be promised to requests.

    `running` counts the requests that have not ended; those that cost nothing hold the lease open too.
    """

    __slots__ = (
        "account_id",
        "expires_at",
        "granted_nanos",
        "lease_id",
        "reserved_nanos",
        "running",
        "safety",
        "spent_nanos",
        "used_at",
    )

    def __init__(
        self,
        account_id: AccountId,
        lease_id: LeaseId,
        amount_nanos: int,
        expires_at: datetime,
        term: timedelta = LEASE_TERM,
    ) -> None:
        self.account_id = account_id
        self.lease_id = lease_id
        self.granted_nanos = amount_nanos
        self.expires_at = expires_at
        self.used_at = expires_at - term
        self.safety = SAFETY * (term / LEASE_TERM)
        self.reserved_nanos = 0
        self.running = 0
        self.spent_nanos = 0

    @property
    def free_nanos(self) -> int:
        return self.granted_nanos - self.spent_nanos - self.reserved_nanos

    def admits(self, amount_nanos: int, now: datetime) -> bool:
        return self.free_nanos >= amount_nanos and self.expires_at - now > self.safety

    def is_idle(self, now: datetime) -> bool:
        return not self.running and now - self.used_at > IDLE_AFTER


class Reservation(msgspec.Struct, frozen=True):
    """Ends in exactly one `release`."""

    holding: Holding
    amount_nanos: int

    @property
    def lease_id(self) -> LeaseId:
        return self.holding.lease_id

    def release(self, spent_nanos: int) -> None:
        """The request has ended; `spent_nanos` of its reservation (0: nothing) was spent."""
        self.holding.running -= 1
        self.holding.reserved_nanos -= self.amount_nanos
        self.holding.spent_nanos += spent_nanos


class CreditLeases:
    """`recall` asks the other workers to give back what they do not need of an account's credit."""

    def __init__(
        self,
        store: EventStore,
        worker: str,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        recall: Callable[[AccountId], Awaitable[None]],
        term: timedelta = LEASE_TERM,
    ) -> None:
        self._store = store
        self._worker = worker
        self._clock = clock
        self._new_id = new_id
        self._recall = recall
        self._term = term
        self._renew_before = RENEW_BEFORE * (term / LEASE_TERM)
        self._holdings: dict[AccountId, Holding] = {}
        self._locks: dict[AccountId, asyncio.Lock] = {}
        self._waiting: dict[AccountId, list[int]] = {}

    def __len__(self) -> int:
        return len(self._holdings)

    def try_reserve(self, account_id: AccountId, amount_nanos: int, now: datetime) -> Reservation | None:
        """In memory; None when the lease at hand does not allow it."""
        holding = self._holdings.get(account_id)
        if holding is None or not holding.admits(amount_nanos, now):
            return None
        holding.running += 1
        holding.reserved_nanos += amount_nanos
        holding.used_at = now
        return Reservation(holding, amount_nanos)

    async def reserve(self, account_id: AccountId, amount_nanos: int) -> Reservation:
        """Lease more if needed. Raises CreditExhausted when the account's free credit does not allow it."""
        waiting = self._waiting.setdefault(account_id, [])
        waiting.append(amount_nanos)
        try:
            return await self._reserve(account_id, amount_nanos)
        finally:
            waiting.remove(amount_nanos)
            if not waiting:
                del self._waiting[account_id]

    async def _reserve(self, account_id: AccountId, amount_nanos: int) -> Reservation:
        waits = iter(RECALL_WAITS_S)
        while True:
            async with self._locks.setdefault(account_id, asyncio.Lock()):
                if reservation := self.try_reserve(account_id, amount_nanos, self._clock()):
                    return reservation
                try:
                    await self._lease_more(account_id, amount_nanos)
                    continue
                except CreditExhausted as refusal:
                    wait_s = next(waits, None)
                    if wait_s is None or refusal.available_nanos + refusal.elsewhere_nanos < refusal.needed_nanos:
                        raise self._exhausted(account_id, amount_nanos, refusal) from None
            await self._recall(account_id)
            await asyncio.sleep(wait_s)

    def _exhausted(self, account_id: AccountId, amount_nanos: int, refusal: CreditExhausted) -> CreditExhausted:
        """Of the whole request: the ledger was only asked for what this worker's lease lacks."""
        holding = self._holdings.get(account_id)
        free = refusal.available_nanos + (max(0, holding.free_nanos) if holding else 0)
        return CreditExhausted(amount_nanos, free, refusal.elsewhere_nanos)

    async def _lease_more(self, account_id: AccountId, amount_nanos: int) -> None:
        """Whoever is cancelled waits until the ledger has answered: what it granted is known here, or lost."""
        change = asyncio.create_task(self._lease_what_lacks(account_id, amount_nanos))
        try:
            await asyncio.shield(change)
        except asyncio.CancelledError:
            await asyncio.wait({change})
            if not change.cancelled():
                change.exception()
            raise

    async def _lease_what_lacks(self, account_id: AccountId, amount_nanos: int) -> None:
        holding = self._holdings.get(account_id)
        if holding is None:
            await self._open(account_id, amount_nanos)
            return
        missing = max(0, amount_nanos - holding.free_nanos)
        try:
            await self._extend(holding, missing)
        except NotFound:
            self._holdings.pop(account_id, None)

    async def _open(self, account_id: AccountId, needed_nanos: int) -> None:
        lease_id = LeaseId(self._new_id())
        leased: list[CreditLeased] = []

        def decide(ledger: Ledger) -> list[LedgerEvent]:
            amount = self._amount(ledger, account_id, needed_nanos)
            now = self._clock()
            proposed = CreditLeased(
                account_id=account_id,
                at=now,
                lease_id=lease_id,
                worker=self._worker,
                amount_nanos=amount,
                expires_at=now + self._term,
            )
            leased[:] = [proposed]
            return lease(ledger, proposed)

        await self._change(account_id, decide)
        granted = leased[0]
        self._holdings[account_id] = Holding(account_id, lease_id, granted.amount_nanos, granted.expires_at, self._term)

    async def _extend(self, holding: Holding, missing_nanos: int) -> None:
        extended: list[LeaseExtended] = []

        def decide(ledger: Ledger) -> list[LedgerEvent]:
            amount = self._amount(ledger, holding.account_id, missing_nanos) if missing_nanos else 0
            now = self._clock()
            proposed = LeaseExtended(
                account_id=holding.account_id,
                at=now,
                lease_id=holding.lease_id,
                amount_nanos=amount,
                expires_at=now + self._term,
            )
            extended[:] = [proposed]
            return extend_lease(ledger, proposed)

        await self._change(holding.account_id, decide)
        holding.granted_nanos += extended[0].amount_nanos
        holding.expires_at = extended[0].expires_at

    def _amount(self, ledger: Ledger, account_id: AccountId, needed_nanos: int) -> int:
        """What to lease: the need, and beyond it a share of the free credit. Leases shrink as credit falls."""
        available = ledger.available_nanos
        if needed_nanos > available:
            others = (lease.open_nanos for lease in ledger.leases.values() if lease.worker != self._worker)
            raise CreditExhausted(needed_nanos, available, sum(others))
        wanted = max(USUAL_LEASE_NANOS, REQUESTS_AHEAD * needed_nanos, sum(self._waiting.get(account_id, ())))
        return max(needed_nanos, min(wanted, available // SHARE))

    async def give_back(self, account_id: AccountId) -> None:
        """Another worker needs this account's credit: return what no request here has reserved."""
        async with self._locks.setdefault(account_id, asyncio.Lock()):
            holding = self._holdings.get(account_id)
            if holding is not None:
                await self._return(holding, final=not holding.running)

    async def tend(self) -> None:
        """Renew leases in use and return idle ones; to be called about once a second."""
        now = self._clock()
        for holding in list(self._holdings.values()):
            if not holding.is_idle(now) and holding.expires_at - now > self._renew_before:
                continue
            async with self._locks.setdefault(holding.account_id, asyncio.Lock()):
                if self._holdings.get(holding.account_id) is holding:
                    with suppress(Unavailable):
                        await self._tend_one(holding)
        self._locks = {
            account: lock
            for account, lock in self._locks.items()
            if lock.locked() or account in self._holdings or account in self._waiting
        }

    async def _tend_one(self, holding: Holding) -> None:
        if holding.is_idle(self._clock()):
            await self._return(holding, final=True)
            return
        try:
            await self._extend(holding, 0)
        except NotFound:
            self._holdings.pop(holding.account_id, None)
            logger.warning("lease_lost", account=holding.account_id, lease=holding.lease_id)

    async def close(self) -> None:
        """Return everything; requests that still run keep what they reserved until the lease expires."""
        for account_id in list(self._holdings):
            with suppress(Unavailable):
                await self.give_back(account_id)

    async def _return(self, holding: Holding, *, final: bool) -> None:
        """Counted as gone before the log is told, so that nothing can spend it meanwhile."""
        amount = max(0, holding.free_nanos)
        if final:
            self._holdings.pop(holding.account_id, None)
        elif not amount:
            return
        holding.granted_nanos -= amount
        now = self._clock()
        proposed = LeaseReturned(
            account_id=holding.account_id, at=now, lease_id=holding.lease_id, amount_nanos=amount, final=final
        )
        await self._change(holding.account_id, lambda ledger: return_lease(ledger, proposed))

    async def _change(self, account_id: AccountId, decide: Callable[[Ledger], list[LedgerEvent]]) -> None:
        cause = Cause(CommandId(self._new_id()), self._clock(), actor=f"worker:{self._worker}")
        await self._store.change(LEDGER, LEDGER.at(account_id), decide, cause)
