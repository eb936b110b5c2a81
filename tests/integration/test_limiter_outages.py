"""Valkey stopped, killed, emptied or refusing: limits go on by shares, spend never opens, all is told afterwards."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import TypeAlias

import pytest
from redis.asyncio import Redis

from adapters.embedded.valkey import ValkeyServer
from adapters.valkey_limiter import ValkeyLimiter
from commands.holds import Hold, Holds
from domain.errors import Unavailable
from domain.limits import Rule, Verdict
from tests.limits import PATIENT_S, Books, connected, demand, rule, scripts_on
from tests.support import open_directory

TIMEOUT_S = 0.8
"""Longer than in life, for a machine that is busy."""
WORKERS = 3

REQUESTS = rule("requests", "day", 10)
SLOTS = rule("concurrent", "none", 2)
SPEND = rule("spend", "month", 100)
TOKENS = rule("tokens", "day", 1_000)

MakeLimiter: TypeAlias = Callable[[Books], ValkeyLimiter]


@pytest.fixture
async def server() -> AsyncIterator[ValkeyServer]:
    with open_directory() as directory:
        server = ValkeyServer(directory / "valkey")
        await server.start()
        yield server
        if server.pid is not None:
            os.kill(server.pid, signal.SIGCONT)
        await server.stop()


@pytest.fixture
async def client(server: ValkeyServer) -> AsyncIterator[Redis]:
    async with connected(server.endpoint) as client:
        yield client


@pytest.fixture
async def limiter_of(server: ValkeyServer) -> AsyncIterator[MakeLimiter]:
    async with AsyncExitStack() as stack:
        free = [await stack.enter_async_context(scripts_on(server.endpoint, TIMEOUT_S)) for _ in range(2)]

        def make(books: Books) -> ValkeyLimiter:
            limiter = ValkeyLimiter(
                free.pop(),
                books,
                worker=f"w{len(free)}",
                workers=WORKERS,
                clock_ms=lambda: time.time_ns() // 1_000_000,
                pause_s=0.01,
            )
            stack.push_async_callback(limiter.aclose)
            return limiter

        yield make


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def limiter(limiter_of: MakeLimiter, books: Books) -> ValkeyLimiter:
    return limiter_of(books)


def stop(server: ValkeyServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)


async def kill(server: ValkeyServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await server.wait()


async def shared_again(limiter: ValkeyLimiter) -> None:
    async with asyncio.timeout(20):
        while limiter.degraded:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def back(server: ValkeyServer, limiter: ValkeyLimiter) -> None:
    """Valkey goes on, or starts again empty, and the limiter has noticed."""
    if server.pid is None:
        await server.start()
    else:
        os.kill(server.pid, signal.SIGCONT)
    await shared_again(limiter)


async def admitted(limiter: ValkeyLimiter, one: Rule, idents: str, tokens: int = 0, nanos: int = 0) -> list[bool]:
    return [(await limiter.admit([one], demand(ident, tokens, nanos))).allowed for ident in idents]


async def remaining(limiter: ValkeyLimiter, *rules: Rule) -> list[int]:
    """Asked by a request that has ended and holds nothing."""
    ask = demand("asks")
    limiter.finish(rules, ask.request_id, 0, 0)
    return [state.remaining for state in (await limiter.admit(rules, ask)).states]


async def end(limiter: ValkeyLimiter, one: Rule, ident: str, tokens: int = 0, nanos: int = 0) -> None:
    """Told, if Valkey is there: it answers in turn."""
    limiter.finish([one], demand(ident).request_id, tokens, nanos)
    await limiter.touch([one], demand(ident).request_id)


async def test_a_valkey_that_hangs_costs_one_wait_and_then_none(server: ValkeyServer, limiter: ValkeyLimiter) -> None:
    many = rule("requests", "day", 3_000)
    assert not (await limiter.admit([many], demand("before"))).degraded
    stop(server)

    async with asyncio.timeout(PATIENT_S):  # two hundred waits would take minutes
        verdicts = [await limiter.admit([many], demand(f"r{index}")) for index in range(200)]

    assert all(verdict.allowed and verdict.degraded for verdict in verdicts)
    await back(server, limiter)
    assert not (await limiter.admit([many], demand("after"))).degraded


async def test_whoever_waits_when_valkey_goes_is_answered_too(server: ValkeyServer, limiter: ValkeyLimiter) -> None:
    await admitted(limiter, REQUESTS, "0")
    stop(server)

    async with asyncio.timeout(PATIENT_S):
        verdicts = await asyncio.gather(*(limiter.admit([REQUESTS], demand(ident)) for ident in "abcdefgh"))

    assert sum(verdict.allowed for verdict in verdicts) == REQUESTS.limit // WORKERS
    assert all(verdict.degraded for verdict in verdicts)


async def test_without_valkey_a_worker_has_its_share_and_at_least_one(
    server: ValkeyServer, limiter: ValkeyLimiter
) -> None:
    await kill(server)

    assert await admitted(limiter, REQUESTS, "abcd") == [True, True, True, False]
    assert await admitted(limiter, SLOTS, "ef") == [True, False]
    assert await admitted(limiter, rule("requests", "day", 0, "none"), "g") == [False]


async def test_a_limiter_that_begins_without_valkey_works(server: ValkeyServer, limiter: ValkeyLimiter) -> None:
    await kill(server)
    assert await admitted(limiter, SLOTS, "a") == [True]

    await back(server, limiter)

    assert await admitted(limiter, SLOTS, "bc") == [True, False]


async def test_spend_without_valkey_is_this_workers_part_of_what_was_left(
    server: ValkeyServer, limiter: ValkeyLimiter, books: Books
) -> None:
    books.spent["s1"] = 30
    await limiter.admit([SPEND], demand("a", nanos=10))
    await kill(server)

    assert await admitted(limiter, SPEND, "b", nanos=21) == [False]
    assert await admitted(limiter, SPEND, "cd", nanos=20) == [True, False]
    await end(limiter, SPEND, "c", nanos=5)
    assert await admitted(limiter, SPEND, "ef", nanos=15) == [True, False]


async def test_spend_that_was_never_heard_of_is_asked_of_the_books(
    server: ValkeyServer, limiter: ValkeyLimiter, books: Books
) -> None:
    books.spent["s1"] = 70
    await kill(server)

    assert await admitted(limiter, SPEND, "ab", nanos=10) == [True, False]


async def test_spend_is_refused_when_nobody_knows_it(
    server: ValkeyServer, limiter: ValkeyLimiter, books: Books
) -> None:
    books.open = False
    with pytest.raises(Unavailable):
        await limiter.admit([SPEND], demand("a", nanos=1))
    await kill(server)
    with pytest.raises(Unavailable):
        await limiter.admit([SPEND], demand("a", nanos=1))

    assert await admitted(limiter, REQUESTS, "b") == [True]


async def test_valkey_is_told_what_was_used_without_it(server: ValkeyServer, limiter: ValkeyLimiter) -> None:
    rules = [SPEND, TOKENS]
    await limiter.admit(rules, demand("before", 100, 20))
    stop(server)
    await limiter.admit(rules, demand("ended", 50, 15))
    limiter.finish(rules, demand("ended").request_id, 40, 12)
    await limiter.admit(rules, demand("runs", 30, 5))
    limiter.finish(rules, demand("before").request_id, 90, 18)

    await back(server, limiter)

    assert await remaining(limiter, *rules) == [100 - 12 - 5 - 18, 1_000 - 40 - 30 - 90]
    limiter.finish(rules, demand("runs").request_id, 20, 1)
    assert await remaining(limiter, *rules) == [100 - 12 - 1 - 18, 1_000 - 40 - 20 - 90]


async def test_what_was_used_in_two_outages_within_a_millisecond_is_told_twice(server: ValkeyServer) -> None:
    """Each telling has a name of its own; one that Valkey knows already counts nothing."""
    async with scripts_on(server.endpoint, TIMEOUT_S) as scripts:
        limiter = ValkeyLimiter(scripts, Books(), worker="w", workers=1, clock_ms=lambda: 10**12, pause_s=0.01)
        for ident in ("one", "two"):
            stop(server)
            await limiter.admit([TOKENS], demand(f"{ident}, of which Valkey may know"))
            limiter.finish([TOKENS], demand(f"{ident}, of which Valkey may know").request_id, 0, 0)
            await limiter.admit([TOKENS], demand(ident, 10))
            limiter.finish([TOKENS], demand(ident).request_id, 10, 0)
            await back(server, limiter)

        assert await remaining(limiter, TOKENS) == [980]
        await limiter.aclose()


async def test_a_slot_that_was_given_without_valkey_is_held_and_freed_there(
    server: ValkeyServer, limiter: ValkeyLimiter
) -> None:
    await limiter.admit([SLOTS], demand("before"))
    stop(server)
    await limiter.admit([SLOTS], demand("meanwhile"))
    await back(server, limiter)

    assert await admitted(limiter, SLOTS, "a") == [False]
    await end(limiter, SLOTS, "meanwhile")
    assert await admitted(limiter, SLOTS, "b") == [True]


async def test_what_valkey_took_without_answering_and_the_share_refused_is_given_back(
    server: ValkeyServer, limiter: ValkeyLimiter
) -> None:
    assert await remaining(limiter, TOKENS) == [1_000]
    stop(server)
    assert await admitted(limiter, TOKENS, "a", tokens=900) == [False]

    await back(server, limiter)

    assert await remaining(limiter, TOKENS) == [1_000]


async def test_a_fallback_that_is_refused_without_valkey_takes_nothing_from_its_request(
    server: ValkeyServer, limiter: ValkeyLimiter
) -> None:
    await admitted(limiter, SPEND, "a", nanos=30)
    stop(server)
    fallback = [SPEND, rule("requests", "day", 0, "other", "model")]
    assert not (await limiter.admit(fallback, demand("a", nanos=30))).allowed
    await end(limiter, SPEND, "a", nanos=25)

    await back(server, limiter)

    assert await remaining(limiter, SPEND) == [75]


async def test_two_workers_without_valkey_stay_within_what_was_left(
    server: ValkeyServer, limiter_of: MakeLimiter, books: Books
) -> None:
    limiters = limiter_of(books), limiter_of(books)
    books.spent["s1"] = 40
    for index, limiter in enumerate(limiters):
        await admitted(limiter, SPEND, f"{index}", nanos=0)
    await kill(server)

    let_in = [sum(await admitted(limiter, SPEND, "abcdefgh", nanos=10)) for limiter in limiters]

    assert let_in == [2, 2]


async def test_a_slot_is_free_for_whoever_asks_right_after_its_end(limiter: ValkeyLimiter) -> None:
    one = rule("concurrent", "none", 1)
    for index in range(20):
        ident = demand(f"r{index}")
        assert (await limiter.admit([one], ident)).allowed
        limiter.finish([one], ident.request_id, 0, 0)


async def test_an_end_that_valkey_did_not_take_is_told_again(client: Redis, limiter: ValkeyLimiter) -> None:
    assert await admitted(limiter, SLOTS, "ab") == [True, True]
    await client.config_set("maxmemory", "1")
    limiter.finish([SLOTS], demand("a").request_id, 0, 0)
    await limiter.touch([SLOTS], demand("b").request_id)
    assert limiter.degraded

    await client.config_set("maxmemory", "0")
    await shared_again(limiter)

    assert await remaining(limiter, SLOTS) == [1]


async def test_whoever_valkey_may_hold_is_refused_when_it_is_back_before_the_share_is_known(
    client: Redis, limiter: ValkeyLimiter, books: Books
) -> None:
    async def valkey_is_back() -> None:
        await client.config_set("maxmemory", "0")
        await shared_again(limiter)

    books.before_answer = valkey_is_back
    await client.config_set("maxmemory", "1")

    with pytest.raises(Unavailable):
        await limiter.admit([SPEND], demand("a", nanos=10))

    assert await remaining(limiter, SPEND) == [100]


async def test_an_emptied_valkey_asks_what_was_spent_and_counts_what_still_runs(
    client: Redis, limiter: ValkeyLimiter, books: Books
) -> None:
    await admitted(limiter, SPEND, "ab", nanos=20)
    await end(limiter, SPEND, "a", nanos=20)
    books.spent["s1"] = 20
    await client.flushall()

    await end(limiter, SPEND, "b", nanos=15)

    assert await remaining(limiter, SPEND) == [100 - 20 - 15]


async def test_many_requests_of_two_workers_seed_a_counter_once(limiter_of: MakeLimiter) -> None:
    books = Books({"s1": 60}), Books({"s1": 60})
    limiters = [limiter_of(one) for one in books]

    verdicts = await asyncio.gather(
        *(
            limiter.admit([SPEND], demand(f"{index}/{id(limiter)}", nanos=1))
            for limiter in limiters
            for index in range(50)
        )
    )

    assert sum(verdict.allowed for verdict in verdicts) == 40
    assert all(len(one.asked) <= 1 for one in books)


async def test_a_valkey_that_refuses_to_write_is_away_until_it_writes(client: Redis, limiter: ValkeyLimiter) -> None:
    await client.config_set("maxmemory", "1")
    verdict: Verdict = await limiter.admit([REQUESTS], demand("a"))
    assert (verdict.allowed, verdict.degraded) == (True, True)

    await client.config_set("maxmemory", "0")
    await shared_again(limiter)


@pytest.mark.parametrize("rules", [[], [REQUESTS]])
async def test_a_limiter_never_raises_at_the_end_of_a_request(
    server: ValkeyServer, limiter: ValkeyLimiter, rules: list[Rule]
) -> None:
    assert (await limiter.admit(rules, demand("a"))).allowed
    await kill(server)
    for _ in range(2):
        await limiter.touch(rules, demand("a").request_id)
        limiter.finish(rules, demand("a").request_id, 1, 1)


async def test_a_deployment_goes_on_by_shares_and_its_calls_are_told_afterwards(
    server: ValkeyServer, limiter: ValkeyLimiter
) -> None:
    granted = Rule("deployment", "d", "concurrent", "none", 2 * WORKERS)
    holds = Holds(limiter, lambda: 0.0)
    before = await holds.take((granted,), demand("before"))
    stop(server)

    held = [await holds.take((granted,), demand(ident)) for ident in "abc"]

    assert [isinstance(each, Hold) for each in (before, *held)] == [True, True, True, False]
    refused = held[-1]
    assert isinstance(refused, Verdict)
    assert (refused.binding, refused.degraded) == (granted, True)
    await back(server, limiter)
    assert await remaining(limiter, granted) == [granted.limit - 3]
    for each in (before, *held[:2]):
        assert isinstance(each, Hold)
        each.ended(0, 0)
    assert await remaining(limiter, granted) == [granted.limit]
