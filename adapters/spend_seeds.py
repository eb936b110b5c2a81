"""Asks the books what was spent: for one counter once at a time, however many requests want to know."""

import asyncio
from collections.abc import Sequence

from domain.errors import Unavailable
from domain.limits import Rule, SpentSince, start_of

TIMEOUT_S = 1.0


class SpendSeeds:
    def __init__(self, spent_since: SpentSince) -> None:
        self._spent_since = spent_since
        self._asking: dict[tuple[str, int], asyncio.Task[int]] = {}

    async def of(self, missing: Sequence[tuple[Rule, int]]) -> dict[Rule, tuple[int, int]]:
        """Of spend rules with the start of their window (ms): what was spent since, with that start again.

        Raises Unavailable when the books do not answer in time.
        """
        tasks = [self._ask(rule, start_ms) for rule, start_ms in missing]
        try:
            async with asyncio.timeout(TIMEOUT_S):
                spent = [await asyncio.shield(task) for task in tasks]
        except TimeoutError:
            raise Unavailable("What was spent so far is not known just now; try again shortly.") from None
        return {rule: (nanos, start_ms) for (rule, start_ms), nanos in zip(missing, spent, strict=True)}

    def _ask(self, rule: Rule, start_ms: int) -> asyncio.Task[int]:
        question = rule.counter, start_ms
        task = self._asking.get(question)
        if task is None:
            task = asyncio.create_task(self._bounded(rule, start_ms))
            self._asking[question] = task
            task.add_done_callback(lambda ended: self._forget(question, ended))
        return task

    def _forget(self, question: tuple[str, int], task: asyncio.Task[int]) -> None:
        self._asking.pop(question, None)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone

    async def _bounded(self, rule: Rule, start_ms: int) -> int:
        assert rule.scope != "deployment", "it has no spend"
        async with asyncio.timeout(TIMEOUT_S):
            return await self._spent_since(rule.scope, rule.subject, start_of(start_ms))
