"""Settlement in memory: workers that admit and end requests, and any number of settlements over the same logs."""

import asyncio

from adapters.live_leases import LiveLeases
from commands.credit_leases import LEASE_TERM, CreditLeases, Reservation
from commands.settle_usage import GRACE, SettleUsage
from commands.store import EventStore
from domain.errors import OutcomeUnknown, Unavailable
from domain.events import Envelope
from domain.ids import AccountId
from domain.ledger import UsageCharged
from domain.request import RequestEvent
from domain.settlement import Progress
from tests.money import ACCOUNT, Clock, RacingLog, admitted, batch, completed, counter, ledger_events

CREDIT = 10_000
DEAD_AFTER_S = (LEASE_TERM + GRACE).total_seconds() + 1


class StoredProgress:
    """The row in the database. `away` while it does not answer."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.away = False

    async def own(self) -> bool:
        return True

    async def load(self) -> Progress | None:
        return self.progress

    async def save(self, progress: Progress) -> None:
        if self.away:
            raise Unavailable("The database is away.")
        self.progress = progress


class Requests:
    """A request log whose every message holds one event of one writer. `silent` takes events and confirms none."""

    def __init__(self) -> None:
        self.messages: list[list[Envelope]] = []
        self.events: list[RequestEvent] = []
        self.silent = False

    async def append(self, event: RequestEvent) -> int:
        await asyncio.sleep(0)
        self.events.append(event)
        self.messages.append(batch("w", len(self.messages) + 1, event))
        if self.silent:
            raise OutcomeUnknown("The log did not confirm.")
        return len(self.messages)


class KnownLeases(LiveLeases):
    """Has heard everything when `known` says so, without a tail to prove it."""

    def __init__(self) -> None:
        super().__init__()
        self.known = True

    @property
    def caught_up(self) -> bool:
        return self.known


class SettlingHouse:
    """One worker `w`; `settled` reads and ticks until all is still."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.requests = Requests()
        self.progress = StoredProgress()
        self.live = KnownLeases()
        self.log = RacingLog(self.live.apply)
        self.leases = CreditLeases(
            EventStore(self.log, "/workers/w"), "w", self.clock, counter("w"), self._nobody_to_ask
        )
        self.settle = self.settlement()

    async def _nobody_to_ask(self, account_id: AccountId) -> None:
        return None

    def settlement(self, live: LiveLeases | None = None) -> SettleUsage:
        store = EventStore(self.log, "/settlement")
        new_id = counter(f"settle-{id(store)}")
        return SettleUsage(store, self.requests, live or self.live, self.progress, clock=self.clock, new_id=new_id)

    async def begin(self, request: str, account: AccountId = ACCOUNT, amount: int = 100) -> Reservation:
        reservation = await self.leases.reserve(account, amount)
        await self.requests.append(admitted(request, reservation.lease_id, account, self.clock()))
        return reservation

    async def end(self, request: str, reservation: Reservation, cost: int) -> None:
        account = reservation.holding.account_id
        await self.requests.append(completed(request, cost, reservation.lease_id, account))
        reservation.release(cost)

    async def settled(self, settle: SettleUsage | None = None) -> None:
        """Read all there is and tick, until nothing new comes of it."""
        settle = settle or self.settle
        start = await settle.resume()
        while True:
            head = len(self.requests.messages)
            for position in range(start + 1, head + 1):
                settle.apply(position, self.requests.messages[position - 1])
            await settle.tick(head, self.clock())
            if head == len(self.requests.messages):
                return
            start = head

    async def charges(self, account: AccountId = ACCOUNT) -> list[int]:
        return [fact.amount_nanos for fact in await ledger_events(self.log, account) if isinstance(fact, UsageCharged)]

    @property
    def stored(self) -> Progress:
        assert self.progress.progress is not None
        return self.progress.progress
