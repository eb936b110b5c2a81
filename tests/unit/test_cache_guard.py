"""A cache that is broken or slow is asked less and less, and nobody waits for it."""

import asyncio

import pytest

from adapters.cache_guard import FAILURES_TO_OPEN, OPEN_S, CacheGuard, NoAnswer
from tests.caching import Clock, Outcomes, until


class Server:
    """Answers, or does what it is told to instead."""

    def __init__(self) -> None:
        self.clock, self.outcomes = Clock(), Outcomes()
        self.calls = 0
        self.trouble: Exception | None = None
        self.is_silent = False
        self.cancelled = 0

    async def call(self) -> str:
        self.calls += 1
        if self.is_silent:
            await self._never()
        if self.trouble:
            raise self.trouble
        return "pong"

    async def _never(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def guard(self, limit_s: float = 60.0) -> CacheGuard:
        return CacheGuard((OSError,), self.clock.monotonic, self.outcomes, limit_s)


async def refused(guard: CacheGuard, server: Server) -> None:
    with pytest.raises(NoAnswer):
        await guard.attempt(server.call)


async def test_an_answer_passes() -> None:
    server = Server()

    assert await server.guard().attempt(server.call) == "pong"
    assert not server.outcomes.seen


async def test_a_silent_server_is_given_up_and_its_call_ended() -> None:
    server = Server()
    server.is_silent = True

    await refused(server.guard(limit_s=0.01), server)
    await until(lambda: server.cancelled == server.calls == 1)

    assert server.outcomes.seen == {"slow": 1}


async def test_after_failures_in_a_row_it_is_left_alone_until_one_probe_succeeds() -> None:
    server = Server()
    guard = server.guard()
    server.trouble = ConnectionError()
    for _ in range(FAILURES_TO_OPEN + 3):
        await refused(guard, server)
    assert server.calls == FAILURES_TO_OPEN
    assert server.outcomes.seen == {"failed": FAILURES_TO_OPEN, "skipped": 3}
    assert not guard.would_try

    server.clock.move(OPEN_S)
    assert guard.would_try
    await refused(guard, server)
    assert not guard.would_try
    await refused(guard, server)
    assert server.calls == FAILURES_TO_OPEN + 1

    server.trouble = None
    server.clock.move(OPEN_S)
    assert await asyncio.gather(*(guard.attempt(server.call) for _ in range(3)), return_exceptions=True) != ["pong"] * 3
    assert server.calls == FAILURES_TO_OPEN + 2
    assert [await guard.attempt(server.call) for _ in range(3)] == ["pong"] * 3


async def test_a_success_forgives_earlier_failures() -> None:
    server = Server()
    guard = server.guard()
    for _ in range(3):
        server.trouble = ConnectionError()
        for _ in range(FAILURES_TO_OPEN - 1):
            await refused(guard, server)
        server.trouble = None
        assert await guard.attempt(server.call) == "pong"


async def test_a_bug_is_not_taken_for_an_outage() -> None:
    server = Server()
    server.trouble = KeyError("bug")

    with pytest.raises(KeyError):
        await server.guard().attempt(server.call)
    assert not server.outcomes.seen


async def test_a_caller_that_is_cancelled_ends_its_call_and_blames_nobody() -> None:
    server = Server()
    server.is_silent = True
    guard = server.guard()
    waiting = asyncio.create_task(guard.attempt(server.call))
    await until(lambda: server.calls == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: server.cancelled == 1)

    assert not server.outcomes.seen


async def test_a_probe_that_is_cancelled_leaves_the_way_free_for_another() -> None:
    server = Server()
    guard = server.guard()
    server.trouble = ConnectionError()
    for _ in range(FAILURES_TO_OPEN):
        await refused(guard, server)
    server.clock.move(OPEN_S)
    server.trouble, server.is_silent = None, True
    probe = asyncio.create_task(guard.attempt(server.call))
    await until(lambda: server.calls > FAILURES_TO_OPEN)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe

    server.is_silent = False
    assert await guard.attempt(server.call) == "pong"
