"""Calls of what a cache is made of: 50 ms each, and none at all for a while once several in a row got no answer.

A cache may be away, slow or full; whoever asks goes on without it. All of it is counted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

LIMIT_S = 0.05
FAILURES_TO_OPEN = 5
OPEN_S = 2.0

Answer = TypeVar("Answer")


class NoAnswer(Exception):
    """Too slow, broken, or not asked because it was so a moment ago."""


class CacheGuard:
    """For one server. `failures` are the errors that mean that it is broken; others are bugs, and pass. `clock` is
    monotonic seconds. `count` is told `failed`, `slow` or `skipped`."""

    def __init__(
        self,
        failures: tuple[type[Exception], ...],
        clock: Callable[[], float],
        count: Callable[[str], None],
        limit_s: float = LIMIT_S,
    ) -> None:
        self._failures = failures
        self._clock = clock
        self._count = count
        self._limit_s = limit_s
        self._failed_in_a_row = 0
        self._closed_from = 0.0
        self._is_probing = False
        self._abandoned: set[asyncio.Future[Any]] = set()

    async def attempt(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Its answer. Raises NoAnswer. A call that is too slow is cancelled, and not waited for even then."""
        if not self.begin():
            raise NoAnswer
        running = asyncio.ensure_future(call())
        running.add_done_callback(self._hear)
        try:
            await asyncio.wait((running,), timeout=self._limit_s)
            if not running.done():
                self.failed("slow")
                raise NoAnswer
            answer = running.result()
        except self._failures as failure:
            self.failed()
            raise NoAnswer from failure
        finally:
            self._is_probing = False
            if not running.done():
                self._abandon(running)
        self.succeeded()
        return answer

    def begin(self) -> bool:
        """Whether to make a call that bounds its own time; then say how it ended. After a pause one call tries it; the
        others go on only when that one was answered."""
        if not self.would_try:
            self._count("skipped")
            return False
        self._is_probing = self._failed_in_a_row >= FAILURES_TO_OPEN
        return True

    def succeeded(self) -> None:
        self._failed_in_a_row = 0
        self._is_probing = False

    def failed(self, outcome: str = "failed") -> None:
        self._count(outcome)
        self._failed_in_a_row += 1
        self._closed_from = self._clock() + OPEN_S
        self._is_probing = False

    @property
    def would_try(self) -> bool:
        """Whether the next call is made at all."""
        if self._failed_in_a_row < FAILURES_TO_OPEN:
            return True
        return not self._is_probing and self._clock() >= self._closed_from

    def _abandon(self, running: asyncio.Future[Answer]) -> None:
        self._abandoned.add(running)
        running.cancel()

    def _hear(self, ended: asyncio.Future[Answer]) -> None:
        self._abandoned.discard(ended)
        if not ended.cancelled():
            ended.exception()
