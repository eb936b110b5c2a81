"""Cached answers in a real Valkey: kept, aged, purged; and what happens when Valkey is slow, stopped or gone."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from adapters.cache_guard import FAILURES_TO_OPEN, OPEN_S, CacheGuard
from adapters.embedded.valkey import ValkeyServer
from adapters.endpoints import RedisEndpoint, ServiceEndpoints
from adapters.response_cache_scripts import Way
from adapters.single_flight import SingleFlight
from adapters.valkey import open_valkey
from adapters.valkey_response_cache import FAILURES, SHORT_BYTES, ValkeyResponseCache
from adapters.valkey_scripts import BatchedScripts, Script
from api.caching import MOST_LONG_AT_ONCE
from domain.errors import Unavailable
from domain.response_cache import LARGEST_ANSWER_BYTES, CachedAnswer, CacheKey, Looked
from tests.caching import SEALING_KEY, Clock, Outcomes, an_answer, key_of
from tests.support import open_directory

NOTHING = Script("return 0")
PATIENT_S = 10.0
"""For tests of what Valkey says; how long it takes on a busy machine is not their business."""


class Cache:
    """A response cache over one client, with what it counted."""

    def __init__(self, valkey: Redis, limit_s: float = PATIENT_S) -> None:
        self.valkey = valkey
        self.clock, self.outcomes = Clock(), Outcomes()
        self.scripts = BatchedScripts(valkey, timeout_s=limit_s)
        self.long_scripts = BatchedScripts(valkey, timeout_s=limit_s)
        short, long = self._way(self.scripts, limit_s), self._way(self.long_scripts, limit_s, MOST_LONG_AT_ONCE)
        self.answers = ValkeyResponseCache(
            valkey, short, long, SEALING_KEY, self.clock.now, self.clock.monotonic, self.outcomes
        )

    def _way(self, scripts: BatchedScripts, limit_s: float, most_at_once: int = 10_000) -> Way:
        return Way(scripts, CacheGuard(FAILURES, self.clock.monotonic, self.outcomes, limit_s), most_at_once)

    async def get(self, key: CacheKey, max_age_s: int | None = None) -> CachedAnswer | None:
        return (await self.answers.look(key, max_age_s=max_age_s)).answer

    async def put(self, key: CacheKey, answer: CachedAnswer, token: str = "", mark: bytes | None = None) -> bool:
        """Whether it is there afterwards. As one does who has just looked, unless the `mark` is older."""
        if mark is None:
            mark = (await self.answers.look(key, may_read=False)).mark
        is_kept = asyncio.get_running_loop().create_future()
        if not self.answers.put(key, answer, 60, mark, token, lambda: is_kept.set_result(True)):
            return False
        for scripts in (self.scripts, self.long_scripts):
            await scripts.call(NOTHING, (), ())  # whatever was told before is done by then
        return is_kept.done()

    async def leads(self, key: CacheKey, token: str, max_age_s: int | None = None) -> bool:
        looked = await self.answers.look(key, token, max_age_s)
        return looked.leads and looked.answer is None

    async def aclose(self) -> None:
        await self.answers.aclose()
        await self.scripts.aclose()
        await self.long_scripts.aclose()


@asynccontextmanager
async def cache_over(valkey: Redis, limit_s: float = PATIENT_S) -> AsyncGenerator[Cache]:
    cache = Cache(valkey, limit_s)
    try:
        yield cache
    finally:
        await cache.aclose()


def patient_client(where: RedisEndpoint) -> Redis:
    return Redis(host=where.host, port=where.port, password=where.password, db=where.db)


@pytest.fixture
async def cache(servers: ServiceEndpoints) -> AsyncIterator[Cache]:
    async with patient_client(servers.redis) as valkey, cache_over(valkey) as cache:
        yield cache


def new_scope() -> str:
    return f"acc_{uuid.uuid4().hex}"


def new_key() -> CacheKey:
    return key_of(new_scope(), messages=[])


def place_of(key: CacheKey) -> str:
    return f"cache:{{{key.scope}}}:{key.digest}"


@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_answer_comes_back_as_it_was(cache: Cache, is_stream: bool) -> None:
    key, answer = new_key(), an_answer(b"data: {}\n\n" * 300, is_stream=is_stream)

    assert await cache.get(key) is None
    await cache.put(key, answer)

    assert await cache.get(key) == answer
    assert cache.outcomes.seen == {"miss": 1, "stored": 1, "hit": 1}


async def test_what_is_stored_is_sealed_and_ends(cache: Cache) -> None:
    key = new_key()
    await cache.put(key, an_answer(b"a secret" * 100))
    stored = await cache.valkey.get(place_of(key))

    assert isinstance(stored, bytes)
    assert b"secret" not in stored
    assert 0 < await cache.valkey.ttl(place_of(key)) <= 60
    assert await cache.valkey.ttl(f"cache:{{{key.scope}}}:generation") > 60


async def test_an_answer_ends_with_its_time_to_live(cache: Cache) -> None:
    key = new_key()
    await cache.put(key, an_answer())
    assert await cache.valkey.pexpireat(place_of(key), 1)

    assert await cache.get(key) is None


async def test_an_answer_that_is_older_than_asked_for_is_a_miss(cache: Cache) -> None:
    key = new_key()
    await cache.put(key, an_answer())
    cache.clock.move(10)

    assert await cache.get(key, 9) is None
    assert await cache.get(key, 10) is not None
    assert cache.outcomes.seen["too_old"] == 1


@pytest.mark.parametrize("same_generation", [False, True])
async def test_an_answer_that_was_moved_to_another_account_does_not_open(cache: Cache, same_generation: bool) -> None:
    mine, other = new_key(), new_key()
    for key in (mine, other):
        await cache.put(key, an_answer(key.scope.encode()))
    await cache.valkey.copy(place_of(mine), place_of(other), replace=True)
    if same_generation:
        generations = [f"cache:{{{key.scope}}}:generation" for key in (mine, other)]
        await cache.valkey.copy(*generations, replace=True)

    assert await cache.get(other) is None
    assert cache.outcomes.seen["unreadable"] == 1


async def test_an_answer_that_was_moved_to_another_question_does_not_open(cache: Cache) -> None:
    one = new_key()
    other = key_of(one.scope, messages=["other"])
    await cache.put(one, an_answer())
    await cache.valkey.copy(place_of(one), place_of(other))

    assert await cache.get(other) is None


async def test_an_answer_that_was_altered_does_not_open(cache: Cache) -> None:
    key = new_key()
    await cache.put(key, an_answer())
    for offset in (0, 5, 30):
        await cache.valkey.setrange(place_of(key), offset, b"\x00\xff")
        assert await cache.get(key) is None
    await cache.valkey.set(place_of(key), b"a")

    assert await cache.get(key) is None
    assert cache.outcomes.seen["unreadable"] == 4


async def test_a_purge_takes_all_of_one_account_and_nothing_else(cache: Cache) -> None:
    scope = new_scope()
    mine = [key_of(scope, seed=number) for number in range(3)]
    other = new_key()
    for key in (*mine, other):
        await cache.put(key, an_answer())
    await cache.answers.purge(scope)

    assert [await cache.get(key) for key in mine] == [None] * 3
    assert await cache.get(other) is not None

    await cache.put(mine[0], an_answer())
    assert await cache.get(mine[0]) is not None
    assert await cache.get(mine[1]) is None


async def test_a_generation_that_is_lost_brings_nothing_back(cache: Cache) -> None:
    key = new_key()
    await cache.put(key, an_answer())
    await cache.answers.purge(key.scope)
    await cache.valkey.delete(f"cache:{{{key.scope}}}:generation")
    await cache.put(key_of(key.scope, seed=1), an_answer())

    assert await cache.get(key) is None


async def test_an_answer_that_is_too_large_is_not_stored(cache: Cache) -> None:
    key = new_key()
    await cache.put(key, an_answer(b"x" * (LARGEST_ANSWER_BYTES + 1)))
    assert await cache.get(key) is None

    largest = an_answer(os.urandom(LARGEST_ANSWER_BYTES))
    await cache.put(key, largest)
    assert await cache.get(key) == largest
    assert cache.outcomes.seen["too_large"] == 1


async def test_answers_leave_room_for_rate_limits() -> None:
    with open_directory() as directory:
        server = ValkeyServer(directory / "valkey")
        await server.start()
        try:
            async with patient_client(server.endpoint) as valkey, cache_over(valkey) as cache:
                key = new_key()
                used = (await valkey.info("memory"))["used_memory"]
                await valkey.config_set("maxmemory", int(used * 1.2))
                async with asyncio.timeout(PATIENT_S):
                    while await cache.put(key, an_answer()):
                        cache.clock.move(1)
                assert cache.outcomes.seen["full"] == 1

                await valkey.config_set("maxmemory", used * 4)
                async with asyncio.timeout(PATIENT_S):
                    while not await cache.put(key, an_answer()):
                        cache.clock.move(1)
                assert await cache.get(key) is not None
        finally:
            await server.stop()


@pytest.mark.parametrize("harm", [signal.SIGSTOP, signal.SIGKILL])
async def test_without_valkey_all_is_a_miss_and_nobody_waits(harm: signal.Signals) -> None:
    with open_directory() as directory:
        server = ValkeyServer(directory / "valkey")
        await server.start()
        valkey = open_valkey(server.endpoint)
        cache, key = Cache(valkey, limit_s=0.05), new_key()
        try:
            async with asyncio.timeout(PATIENT_S):
                while not await cache.get(key):
                    await cache.put(key, an_answer())
            assert server.pid is not None
            os.kill(server.pid, harm)
            async with asyncio.timeout(PATIENT_S):  # 60 s and more, if each of these waited as long as Valkey does
                for _ in range(200):
                    assert await cache.get(key) is None
                    await cache.put(key, an_answer())
                assert await cache.answers.look(key, "t") == Looked(None, leads=True)
                cache.answers.release(key, "t")
                with pytest.raises(Unavailable):
                    await cache.answers.purge(key.scope)
            seen = cache.outcomes.seen
            assert seen["slow"] + seen["failed"] >= FAILURES_TO_OPEN
            assert seen["skipped"] >= 390

            if harm == signal.SIGSTOP:
                os.kill(server.pid, signal.SIGCONT)
                async with asyncio.timeout(PATIENT_S):
                    while await cache.get(key) != an_answer():
                        cache.clock.move(OPEN_S)
        finally:
            if harm == signal.SIGSTOP and server.pid:
                os.kill(server.pid, signal.SIGCONT)
            await cache.aclose()
            await valkey.aclose()
            await server.stop()


async def test_calls_that_are_given_up_never_mix_up_answers(servers: ServiceEndpoints) -> None:
    """A reply that comes after its reader has gone must not be taken for the next reader's."""
    async with (
        patient_client(servers.redis) as valkey,
        cache_over(valkey) as patient,
        cache_over(valkey, limit_s=0) as hasty,
    ):
        keys = [new_key() for _ in range(20)]
        for key in keys:
            await patient.put(key, an_answer(key.digest.encode() + key.scope.encode()))
        for key in keys * 5:
            waiting = asyncio.create_task(patient.get(key))
            await asyncio.sleep(0)
            await hasty.get(key)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

        for key in keys:
            found = await patient.get(key)
            assert found is not None
            assert found.body == key.digest.encode() + key.scope.encode()


async def test_only_who_took_the_lead_gives_it_back(cache: Cache) -> None:
    key, release = new_key(), cache.answers.release

    assert await cache.leads(key, "mine")
    assert await cache.leads(key, "mine"), "a call that is made twice"
    assert not await cache.leads(key, "other")
    release(key, "other")
    assert not await cache.leads(key, "other")
    assert 0 < await cache.valkey.pttl(f"{place_of(key)}:lock") <= 60_000
    release(key, "mine")
    assert await cache.leads(key, "other")


async def test_who_only_looks_leads_nobody(cache: Cache) -> None:
    key = new_key()

    for may_read in (True, False):
        assert not (await cache.answers.look(key, may_read=may_read)).leads
    assert not await cache.valkey.exists(f"{place_of(key)}:lock")


async def test_an_answer_that_is_kept_ends_the_lead_of_who_keeps_it(cache: Cache) -> None:
    key = new_key()
    await cache.leads(key, "mine")

    assert await cache.put(key, an_answer(), "other")
    assert await cache.valkey.exists(f"{place_of(key)}:lock")
    assert await cache.put(key, an_answer(), "mine")
    assert not await cache.valkey.exists(f"{place_of(key)}:lock")
    assert (await cache.answers.look(key, "other")).answer == an_answer()


async def test_an_answer_that_comes_after_a_purge_is_not_kept_and_still_ends_the_lead(cache: Cache) -> None:
    key = new_key()
    await cache.put(key_of(key.scope, seed=1), an_answer())
    looked = await cache.answers.look(key, "mine")
    await cache.answers.purge(key.scope)
    await cache.answers.look(key)  # another look, after the purge, changes nothing about it

    assert looked.leads
    assert not await cache.put(key, an_answer(), "mine", looked.mark)
    assert cache.outcomes.seen["purged_meanwhile"] == 1
    assert await cache.leads(key, "other")


async def test_the_first_answers_of_a_scope_that_are_asked_for_at_once_are_all_kept(cache: Cache) -> None:
    scope = new_scope()
    keys = [key_of(scope, seed=number) for number in range(5)]
    looked = [await cache.answers.look(key, key.digest) for key in keys]
    for key, seen in zip(keys, looked, strict=True):
        assert await cache.put(key, an_answer(), key.digest, seen.mark)

    assert {await cache.get(key) for key in keys} == {an_answer()}


async def test_the_first_answer_of_a_scope_may_have_been_asked_before_its_first_purge(cache: Cache) -> None:
    key = new_key()
    looked = await cache.answers.look(key, "mine")
    await cache.answers.purge(key.scope)

    assert not await cache.put(key, an_answer(), "mine", looked.mark)


async def test_a_generation_that_is_lost_is_made_anew_and_nothing_of_before_is_kept_under_it(cache: Cache) -> None:
    key = new_key()
    before = await cache.answers.look(key, "mine")
    await cache.valkey.delete(f"cache:{{{key.scope}}}:generation")
    lost, after = [await cache.answers.look(key, "mine") for _ in range(2)]

    assert lost.mark == b""
    assert after.mark not in (b"", before.mark)
    assert not await cache.put(key, an_answer(), "mine", before.mark)
    assert not await cache.put(key, an_answer(), "mine", lost.mark)
    assert await cache.put(key, an_answer(), "mine", after.mark)


async def test_a_long_answer_has_a_connection_of_its_own(cache: Cache) -> None:
    short, long = new_key(), new_key()
    answers = {short: an_answer(b"x"), long: an_answer(os.urandom(2 * SHORT_BYTES))}
    for key, answer in answers.items():
        assert await cache.put(key, answer)
        assert await cache.get(key) == answer
    await cache.long_scripts.aclose()

    assert await cache.get(short) == answers[short]
    assert await cache.get(long) is None


async def test_only_so_many_long_answers_are_on_their_way_at_once(cache: Cache) -> None:
    """More than that are misses: nobody waits for a megabyte of another's."""
    scope = new_scope()
    keys = [key_of(scope, seed=number) for number in range(MOST_LONG_AT_ONCE + 2)]
    for key in keys:
        assert await cache.put(key, an_answer(os.urandom(2 * SHORT_BYTES)))
    looked = await asyncio.gather(*(asyncio.ensure_future(cache.answers.look(key, key.digest)) for key in keys))

    assert sum(found.answer is not None for found in looked) == MOST_LONG_AT_ONCE
    assert all(found.leads for found in looked if found.answer is None)


async def test_room_that_was_known_long_ago_is_good_for_a_little_only(cache: Cache) -> None:
    large = an_answer(os.urandom(LARGEST_ANSWER_BYTES))
    await cache.answers.measure()
    await cache.put(new_key(), an_answer())
    cache.clock.move(60)
    marks = [(key, (await cache.answers.look(key)).mark) for key in [new_key() for _ in range(6)]]
    taken = [cache.answers.put(key, large, 60, mark) for key, mark in marks]  # in one turn of the loop

    assert taken == [True] * 3 + [False] * 3


async def test_who_finds_no_answer_that_will_do_leads(cache: Cache) -> None:
    old, broken = new_key(), new_key()
    for key in (old, broken):
        await cache.put(key, an_answer())
    cache.clock.move(10)
    await cache.valkey.set(place_of(broken), b"a2 broken")

    assert await cache.leads(old, "mine", 9)
    assert not await cache.leads(old, "other", 9)
    assert await cache.leads(broken, "mine")


async def test_an_answer_that_cannot_be_looked_for_is_not_kept(cache: Cache) -> None:
    assert not cache.answers.put(new_key(), an_answer(), 60, None, "mine")


def test_over_four_event_loops_one_leads(servers: ServiceEndpoints) -> None:
    """Each loop in its own thread, with its own connections, as workers have."""
    key, asked = new_key(), list[int]()

    async def work(number: int) -> list[CachedAnswer | None]:
        async with patient_client(servers.redis) as valkey, cache_over(valkey) as cache:
            flights = SingleFlight(cache.answers)

            async def ask() -> CachedAnswer | None:
                turn = flights.turn(key, uuid.uuid4().hex)
                if not await turn.is_clear():
                    await turn.wait(PATIENT_S)
                if turn.answer is None:
                    asked.append(number)
                    await asyncio.sleep(0)
                    answer = an_answer(b"%d" % number)
                    if cache.answers.put(key, answer, 60, turn.mark, turn.token):
                        turn.token = ""
                    turn.answered(answer)
                turn.end()
                return turn.answer

            return await asyncio.gather(*(ask() for _ in range(10)))

    with ThreadPoolExecutor(4) as threads:
        loops = [threads.submit(asyncio.run, work(number)) for number in range(4)]
        found = [answer for loop in loops for answer in loop.result()]

    assert len(asked) == 1
    assert found == [an_answer(b"%d" % asked[0])] * 40
