"""Four processes, one limit: exactly as much as it allows, and every key in Valkey ends by itself."""

import asyncio
import sys
import uuid
from pathlib import Path

import msgspec
import pytest

from adapters.endpoints import RedisEndpoint, ServiceEndpoints
from adapters.limit_script import LimitScript
from domain.ids import RequestId
from domain.limits import MAX_AMOUNT, MINUTE_MS, SECOND_MS, Rule, Unseeded
from tests.limit_hammer import Orders
from tests.limits import NOW_MS, asked, connected, decided, demand, rule, scripts_on

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORKERS = 4
ATTEMPTS = 60
AMOUNT = 3
ROOT = Path(__file__).parents[2]


async def hammered(where: RedisEndpoint, rules: list[Rule], spent: dict[str, int]) -> list[int]:
    """How many requests each rule let in, in all processes together."""

    async def one(worker: int) -> list[int]:
        orders = Orders(where, f"{uuid.uuid4().hex}/{worker}", rules, ATTEMPTS, AMOUNT, spent)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.limit_hammer", cwd=ROOT, stdin=-1, stdout=-1
        )
        said, _ = await process.communicate(msgspec.json.encode(orders))
        assert process.returncode == 0
        return msgspec.json.decode(said, type=list[int])

    return [sum(counts) for counts in zip(*await asyncio.gather(*map(one, range(WORKERS))), strict=True)]


async def test_four_processes_together_get_exactly_the_limit(servers: ServiceEndpoints) -> None:
    subject = uuid.uuid4().hex
    rules = [
        rule("requests", "day", 77, subject),
        rule("requests", "minute", 78, subject),
        rule("tokens", "minute", 100, subject),
        rule("tokens", "month", 80 * AMOUNT, subject),
        rule("concurrent", "none", 41, subject),
        rule("spend", "month", 500, subject),
    ]

    admitted = await hammered(servers.redis, rules, {subject: 350})

    assert admitted == [77, 78, 100 // AMOUNT, 80, 41, (500 - 350) // AMOUNT]


async def test_every_key_has_a_time_to_live(servers: ServiceEndpoints) -> None:
    subject = uuid.uuid4().hex
    rules = (
        rule("requests", "minute", 5, subject),
        rule("tokens", "day", 9, subject),
        rule("concurrent", "none", 5, subject),
        rule("spend", "month", 9, subject),
    )
    async with connected(servers.redis) as client, scripts_on(servers.redis) as scripts:
        script = LimitScript(scripts)
        unknown = await asked(script, rules, demand(f"{subject}/a", 1, 1))
        assert isinstance(unknown, Unseeded)
        seeds = {one: (1, start_ms) for one, start_ms in unknown.missing}
        await asked(script, rules, demand(f"{subject}/a", 1, 1), seeds)
        await asked(script, rules, demand(f"{subject}/refused", 10, 10))
        await script.adopt(rules, demand(f"{subject}/b", 1, 1))
        await script.touch(rules, RequestId(f"{subject}/a"))
        await script.finish(rules, RequestId(f"{subject}/a"), 1, 1)
        await script.finish(rules, RequestId(f"{subject}/unknown"), 1, 1)
        keys = [key async for key in client.scan_iter(match=f"*{subject}*")]
        lives = [await client.pttl(key) for key in keys]

    assert len(keys) == len(rules) + 3
    assert all(life > 0 for life in lives)


async def test_a_slot_has_a_time_to_live_from_its_start(servers: ServiceEndpoints) -> None:
    one = rule("concurrent", "none", 5, uuid.uuid4().hex)
    async with connected(servers.redis) as client, scripts_on(servers.redis) as scripts:
        await asked(LimitScript(scripts), (one,), demand(f"{one.subject}/r"))
        (key,) = [key async for key in client.scan_iter(match=f"*{one.counter}")]
        assert await client.pttl(key) > 0


async def test_a_minutes_counter_lives_on_with_what_comes_in_each_second(servers: ServiceEndpoints) -> None:
    one = rule("requests", "minute", 5, uuid.uuid4().hex)
    async with connected(servers.redis) as client, scripts_on(servers.redis) as scripts:
        script = LimitScript(scripts)
        lives: list[int] = []
        for second in range(2):
            await asked(script, (one,), demand(f"{one.subject}/{second}"), now_ms=NOW_MS + second * SECOND_MS)
            (key,) = [key async for key in client.scan_iter(match=f"*{one.counter}")]
            lives.append(await client.pttl(key))
            await client.pexpire(key, MINUTE_MS)

    assert all(life > MINUTE_MS for life in lives)


async def test_amounts_up_to_the_largest_are_exact(servers: ServiceEndpoints) -> None:
    one = rule("tokens", "month", MAX_AMOUNT, uuid.uuid4().hex)
    async with scripts_on(servers.redis) as scripts:
        script = LimitScript(scripts)
        remaining: list[int] = []
        for ident, tokens in (("a", MAX_AMOUNT - 3), ("b", 2), ("c", 2), ("d", 1)):
            answer = await asked(script, (one,), demand(f"{one.subject}/{ident}", tokens))
            remaining.append(decided(answer).states[0].remaining)
        await script.finish((one,), RequestId(f"{one.subject}/a"), MAX_AMOUNT - 10, 0)
        answer = await asked(script, (one,), demand(f"{one.subject}/e", 1))
        remaining.append(decided(answer).states[0].remaining)

    assert remaining == [3, 1, 1, 0, 6]


async def test_a_server_that_forgot_the_script_is_given_it_again(servers: ServiceEndpoints) -> None:
    one = rule("requests", "day", 100, uuid.uuid4().hex)
    async with connected(servers.redis) as client, scripts_on(servers.redis) as scripts:
        script = LimitScript(scripts)
        await asked(script, (one,), demand(f"{one.subject}/before"))
        await client.script_flush()
        answers = await asyncio.gather(
            *(asked(script, (one,), demand(f"{one.subject}/{index}")) for index in range(20))
        )

    assert sorted(decided(answer).states[0].remaining for answer in answers) == [*range(79, 99)]
