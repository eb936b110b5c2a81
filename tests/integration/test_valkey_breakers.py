"""Workers that share their breakers through a real Valkey; its script against the domain as reference."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis import Redis as BlockingRedis

from adapters.embedded.valkey import ValkeyServer
from adapters.endpoints import RedisEndpoint
from adapters.valkey import open_valkey
from adapters.valkey_breakers import KEPT_MS, SCRIPT
from domain.breaker import (
    AskProbe,
    Breaker,
    BreakerInput,
    BreakerPolicy,
    CallsEnded,
    ProbeEnded,
    Throttle,
    after,
)
from domain.breakers import Permit
from tests.breakers import Clock, fail, synced, workers
from tests.routing import DOWN, refused
from tests.support import open_directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[ValkeyServer]:
    with open_directory() as directory:
        server = ValkeyServer(directory / "valkey")
        await server.start()
        yield server
        await server.stop()


@pytest.fixture
def valkey(running: ValkeyServer) -> RedisEndpoint:
    """Empty."""
    where = running.endpoint
    with BlockingRedis(host=where.host, port=where.port, password=where.password) as client:
        client.flushall()
    return where


async def test_what_one_worker_opens_the_other_sees(valkey: RedisEndpoint) -> None:
    async with workers(valkey, Clock()) as (one, two):
        fail(one, 4)
        assert (one.phase("a"), two.phase("a")) == ("open", "closed")

        await synced(one, two)

        assert two.phase("a") == "open"
        assert await two.admit("a") is None
        assert await two.admit("b") == Permit("b")
        seen = {view.deployment: view for view in two.view()}
        assert (seen["a"].phase, seen["a"].reason, seen["a"].shared) == ("open", "errors", True)
        assert seen["a"].until_s and seen["b"].until_s is None


async def test_failures_of_all_workers_count_together(valkey: RedisEndpoint) -> None:
    async with workers(valkey, Clock()) as (one, two):
        fail(one, 2)
        fail(two, 2)
        assert (one.phase("a"), two.phase("a")) == ("closed", "closed")

        await synced(one, two, one)

        assert (one.phase("a"), two.phase("a")) == ("open", "open")


async def test_of_many_that_ask_at_once_in_two_workers_one_probes(valkey: RedisEndpoint) -> None:
    clock = Clock()
    async with workers(valkey, clock) as (one, two):
        fail(one, 4)
        await synced(one, two)
        clock.now_s += 5

        permits = await asyncio.gather(*(breakers.admit("a") for breakers in (one, two) * 20))

        assert len([permit for permit in permits if permit is not None]) == 1


async def test_a_good_probe_of_one_closes_for_all(valkey: RedisEndpoint) -> None:
    clock = Clock()
    async with workers(valkey, clock) as (one, two):
        fail(one, 4)
        await synced(one, two)
        clock.now_s += 5
        permit = await one.admit("a")
        await two.sync()
        assert permit and permit.probe and two.phase("a") == "probing"

        one.ended(permit, None, 0.1)
        assert one.phase("a") == "closed"
        await synced(one, two)

        assert two.phase("a") == "closed"
        assert await two.admit("a") == Permit("a")


async def test_a_bad_probe_opens_for_all_and_for_longer(valkey: RedisEndpoint) -> None:
    clock = Clock()
    async with workers(valkey, clock) as (one, two):
        fail(one, 4)
        await one.sync()
        clock.now_s += 5
        permit = await one.admit("a")
        assert permit
        one.ended(permit, DOWN, 0.1)
        await synced(one, two)
        clock.now_s += 9

        assert (one.phase("a"), two.phase("a")) == ("open", "open")


async def test_a_probe_that_was_given_up_is_anybodys_again(valkey: RedisEndpoint) -> None:
    clock = Clock()
    async with workers(valkey, clock) as (one, two):
        fail(one, 4)
        await synced(one, two)
        clock.now_s += 5
        permit = await one.admit("a")
        assert permit and await two.admit("a") is None

        one.given_up(permit)
        await synced(one, two)

        assert await two.admit("a") is not None


async def test_a_throttled_deployment_is_spared_by_all_until_its_time(valkey: RedisEndpoint) -> None:
    clock = Clock()
    async with workers(valkey, clock) as (one, two):
        one.ended(Permit("a"), refused(429, retry_after_s=3), 0.1)
        await synced(one, two)
        assert (two.phase("a"), await two.admit("a")) == ("throttled", None)

        clock.now_s += 3

        assert await two.admit("a") == Permit("a")


async def test_a_worker_who_asks_late_learns_that_another_found_it_well(valkey: RedisEndpoint) -> None:
    clock = Clock()
    async with workers(valkey, clock) as (one, two):
        fail(one, 4)
        await synced(one, two)
        clock.now_s += 5
        permit = await one.admit("a")
        assert permit
        one.ended(permit, None, 0.1)
        await one.sync()

        assert await two.admit("a") == Permit("a")


async def test_a_deployment_that_is_gone_is_forgotten_and_an_unknown_one_is_free(valkey: RedisEndpoint) -> None:
    async with workers(valkey, Clock(), 1) as (one,):
        fail(one, 4)
        one.keep(frozenset({"b"}))
        fail(one, 4)
        await one.sync()

        assert [view.deployment for view in one.view()] == ["b"]
        assert await one.admit("a") == Permit("a")


async def test_a_worker_whose_clock_is_far_off_decides_for_nobody_else(valkey: RedisEndpoint) -> None:
    wrong = Clock()
    wrong.now_s += 3_600
    async with workers(valkey, wrong, 1) as (ahead,), workers(valkey, Clock(), 1) as (right,):
        fail(ahead, 4)
        await synced(ahead, right)

        assert (ahead.phase("a"), right.phase("a")) == ("open", "closed")
        assert not ahead.view()[0].shared and right.view()[0].shared


async def test_a_state_that_cannot_be_read_is_begun_anew(valkey: RedisEndpoint) -> None:
    client = open_valkey(valkey)
    await client.set("agg:{breakers}:a", b"\x00 nonsense")
    await client.set("agg:{breakers}:b", b'{"calls": "many"}')
    await client.aclose()
    async with workers(valkey, Clock()) as (one, two):
        await synced(one, two)
        fail(one, 4)
        await synced(one, two)

        assert two.phase("a") == "open"


# The script's rules are the domain's.

PROBES = st.sampled_from(["p", "q", "r"])
SAID: st.SearchStrategy[BreakerInput] = st.one_of(
    st.builds(CallsEnded, st.integers(-1, 6), st.integers(-1, 6), st.integers(-1, 6)),
    st.builds(Throttle, st.integers(-5_000, 2_000_000)),
    st.builds(AskProbe, PROBES),
    st.builds(ProbeEnded, PROBES, good=st.none() | st.booleans()),
)
STEPS = st.lists(st.tuples(st.integers(-12_000, 40_000), st.lists(SAID, min_size=1, max_size=3)), max_size=25)
POLICIES = st.builds(
    BreakerPolicy,
    window_ms=st.sampled_from([1_000, 7_001, 30_000]),
    minimum_calls=st.integers(1, 8),
    error_percent=st.integers(1, 100),
    slow_ms=st.sampled_from([None, 1_000]),
    slow_percent=st.integers(1, 100),
    open_ms=st.integers(1, 20_000),
    longest_open_ms=st.sampled_from([20_000, 900_000]),
    probe_ms=st.sampled_from([1_000, 60_000]),
)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(BreakerPolicy(window_ms=1_000), [(0, [CallsEnded(2, 1)]), (-12_000, [CallsEnded(1)]), (600, [CallsEnded(1)])])
@given(POLICIES, STEPS)
def test_the_script_decides_as_the_domain_does(
    valkey: RedisEndpoint, policy: BreakerPolicy, steps: Sequence[tuple[int, Sequence[BreakerInput]]]
) -> None:
    start_ms = round(time.time() * 1000)
    now_ms, expected = start_ms, Breaker()
    encoded, far = msgspec.json.encode(policy), 10**12
    with BlockingRedis(host=valkey.host, port=valkey.port, password=valkey.password) as client:
        client.flushall()
        run = client.register_script(SCRIPT.read_text())
        for ms, said in steps:
            now_ms += ms
            told = [Throttle(now_ms + one.until_ms) if isinstance(one, Throttle) else one for one in said]
            for one in told:
                expected = after(expected, one, policy, now_ms)
            answer = run(["state"], [encoded, now_ms, far, KEPT_MS, msgspec.json.encode(told)])
            assert msgspec.json.decode(answer[0], type=Breaker) == expected
