"""What running requests hold of limits, each until it gives it back.

The limiter gives up a hold after 15 minutes, lest a dead process keep it. One sweep puts off those of requests that
run for longer, so that nobody needs a timer of its own.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Protocol

from domain.errors import Busy
from domain.ids import RequestId
from domain.limits import Demand, Limiter, Rule, Verdict

TOUCH_AFTER_S = 240.0
"""Three times before the limiter gives a hold up."""
TEND_EVERY_S = 20.0
MAX_OPEN = 100_000
TOUCHED_AT_ONCE = 250


class Held(Protocol):
    def ended(self, tokens: int | None, nanos: int) -> None:
        """Given back, without waiting. `tokens` None: nobody knows how many, and it stays at what was reserved."""
        ...


class _Nothing:
    def ended(self, tokens: int | None, nanos: int) -> None:
        return


NOTHING_HELD: Held = _Nothing()


class Hold:
    """Taken under these rules, and to be given back once; what is told after that changes nothing."""

    __slots__ = ("_demand", "_holds", "rules", "since_s", "verdict")

    def __init__(self, holds: "Holds", rules: Sequence[Rule], demand: Demand, verdict: Verdict, since_s: float) -> None:
        self._holds = holds
        self._demand = demand
        self.rules = rules
        self.verdict = verdict
        self.since_s = since_s

    def ended(self, tokens: int | None, nanos: int) -> None:
        ident = self._demand.request_id
        if self._holds.close(ident):
            used = self._demand.tokens if tokens is None else tokens
            self._holds.limiter.finish(self.rules, ident, used, nanos)


class Holds:
    """Of one process. `now_s` never goes back."""

    def __init__(self, limiter: Limiter, now_s: Callable[[], float]) -> None:
        self.limiter = limiter
        self._now_s = now_s
        self._open: dict[RequestId, Hold] = {}

    async def take(self, rules: Sequence[Rule], demand: Demand) -> Hold | Verdict:
        """The verdict alone when it refuses. The demand's id is that of this hold only.

        Raises Unavailable when a spend counter cannot be known, and Busy when too much is held.
        """
        if len(self._open) >= MAX_OPEN:
            raise Busy("Too many requests are running here; try again shortly.")
        try:
            verdict = await self.limiter.admit(rules, demand)
        except asyncio.CancelledError:
            self.limiter.finish(rules, demand.request_id, 0, 0)
            raise
        if not verdict.allowed:
            return verdict
        hold = self._open[demand.request_id] = Hold(self, rules, demand, verdict, self._now_s())
        return hold

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def close(self, ident: RequestId) -> bool:
        """Whether it was still open."""
        return self._open.pop(ident, None) is not None

    async def tend(self) -> None:
        """To be called every TEND_EVERY_S."""
        due_s = self._now_s() - TOUCH_AFTER_S
        due = [ident for ident, _ in takewhile(lambda entry: entry[1].since_s <= due_s, self._open.items())]
        for start in range(0, len(due), TOUCHED_AT_ONCE):
            await asyncio.gather(*map(self._put_off, due[start : start + TOUCHED_AT_ONCE]))

    async def _put_off(self, ident: RequestId) -> None:
        held = self._open.pop(ident, None)
        if held is None:
            return
        held.since_s = self._now_s()
        self._open[ident] = held
        await self.limiter.touch(held.rules, ident)
