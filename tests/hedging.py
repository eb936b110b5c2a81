"""A route that hedges: what its deployments give, and when company is due, is for the test to say."""

import asyncio
from contextlib import suppress
from typing import Any

from commands.answer_request import Running
from domain.request import RequestEnd
from domain.retry_budget import RetryBudget, RetryPolicy
from tests.failing_over import GOOD, GOOD_STREAM, Gate, Line, RouteHouse, Scripted
from tests.routing import BROKEN

TOKENS = 10.0
NO_BUDGET = RetryBudget(RetryPolicy(share=0.0, minimum_per_s=0.0), 0.5, 0.0)
TURNS = 12
"""Of the event loop: enough for all that can happen without anybody's doing."""


class HedgeHouse(RouteHouse):
    """Its route hedges after two seconds, which are over when the test says so. `drawn` of the retry budget."""

    def __init__(self, *lines: Line, is_due: bool = True, **fields: Any) -> None:
        hedging: dict[str, Any] = {"hedge_after_s": 2.0, **fields}
        super().__init__(*lines, **hedging)
        self.due = asyncio.Event()
        if is_due:
            self.due.set()
        self.failover.sleep = self._until_due
        self.failover.budget = RetryBudget(RetryPolicy(share=0.0, minimum_per_s=0.0), TOKENS, 0.0)

    async def _until_due(self, seconds: float) -> None:
        self.waits.append(seconds)
        await self.due.wait()

    @property
    def drawn(self) -> float:
        return TOKENS - self.failover.budget.tokens

    async def begin(self, *, stream: bool, **changes: Any) -> tuple[Running, "asyncio.Task[Exception | None]"]:
        """Under way, as far as it gets by itself."""
        running = await self.admit(stream=stream, **changes)
        task = asyncio.create_task(self.ask_for(running, stream=stream))
        await turn(TURNS)
        return running, task

    async def ask_for(self, running: Running, *, stream: bool) -> Exception | None:
        try:
            if stream:
                async for _ in self.handler.stream(running):
                    pass
            else:
                await self.handler.complete(running)
        except Exception as error:
            return error
        return None

    async def leave(self, task: "asyncio.Task[Exception | None]") -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def closed(self) -> RequestEnd:
        """The end, when nobody works for it any more."""
        await turn(TURNS)
        assert {name: line.working for name, line in self.lines.items()} == dict.fromkeys(self.lines, 0)
        return self.check_books()

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(attempt.deployment, attempt.error_kind) for attempt in self.attempts]


class BreaksWhenCancelled(Gate):
    async def passed(self) -> Scripted:
        try:
            return await super().passed()
        except asyncio.CancelledError:
            raise BROKEN from None


async def turn(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


def gated(stream: bool, name: str) -> tuple[Line, Gate]:
    gate = Gate()
    return Line(name, [gate, *GOOD_STREAM[1:]] if stream else gate), gate


def good(stream: bool) -> Scripted:
    return GOOD_STREAM[0] if stream else GOOD
