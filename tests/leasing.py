"""Workers that lease credit over one log, which may be away."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from commands.credit_leases import CreditLeases, Reservation
from commands.store import EventStore
from domain.errors import CreditExhausted, Unavailable
from domain.ids import AccountId
from domain.ports import Append
from tests.money import ACCOUNT, Clock, RacingLog, counter, give_credit

COST = 1_000


class Workers:
    """Several workers over one log, each hearing the others' recalls a moment later, as over a network."""

    def __init__(self, count: int, log: RacingLog | None = None) -> None:
        self.log = log or RacingLog()
        self.clock = Clock()
        self.heard: set[asyncio.Task[None]] = set()
        self.all = [self._worker(number) for number in range(count)]

    def _worker(self, number: int) -> CreditLeases:
        store = EventStore(self.log, f"/workers/{number}")
        return CreditLeases(store, f"w{number}", self.clock, counter(f"w{number}"), self._recall_by(number))

    def _recall_by(self, number: int) -> Callable[[AccountId], Awaitable[None]]:
        async def recall(account_id: AccountId) -> None:
            for other in (*self.all[:number], *self.all[number + 1 :]):
                task = asyncio.create_task(other.give_back(account_id))
                self.heard.add(task)
                task.add_done_callback(self.heard.discard)

        return recall

    async def credit(self, amount_nanos: int) -> None:
        await give_credit(EventStore(self.log, "/tests"), amount_nanos)

    async def try_all(self, amounts: Sequence[int]) -> list[Reservation]:
        """Asked at once, in turns of the workers; those that were admitted."""
        answers = await asyncio.gather(
            *(self.all[index % len(self.all)].reserve(ACCOUNT, amount) for index, amount in enumerate(amounts)),
            return_exceptions=True,
        )
        assert all(isinstance(answer, Reservation | CreditExhausted) for answer in answers), answers
        return [answer for answer in answers if isinstance(answer, Reservation)]


class SometimesAway(RacingLog):
    """While `away`, writes are refused."""

    away = False

    async def append(self, appends: Sequence[Append]) -> list[int]:
        if self.away:
            raise Unavailable("The log is away.")
        return await super().append(appends)
