"""Of those who ask the same at the same time one asks the provider."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.single_flight import FlightBounds, SingleFlight, Turn
from domain.response_cache import CachedAnswer, CacheKey, Looked
from tests.caching import MARK, Found, InMemoryResponseCache, an_answer, key_of, until

KEY = key_of(messages=[])
LONG_S = 60.0
AT_ONCE = FlightBounds(first_poll_s=0)


class ProviderDown(Exception):
    pass


class Worker:
    """Asks as the request path would. `asking` is what the provider does; it is called by leaders only."""

    def __init__(self, cache: InMemoryResponseCache, bounds: FlightBounds = AT_ONCE) -> None:
        self._numbers = count()
        self.cache = cache
        self.flights = SingleFlight(cache, bounds)
        self.asked = 0

    def turn(self, key: CacheKey = KEY, max_age_s: int | None = None) -> Turn:
        return self.flights.turn(key, f"{id(self)}-{next(self._numbers)}", max_age_s)

    async def ask(
        self,
        asking: Callable[[], Awaitable[CachedAnswer | None]],
        *,
        key: CacheKey = KEY,
        wait_s: float = LONG_S,
        max_age_s: int | None = None,
    ) -> CachedAnswer | None:
        turn = self.turn(key, max_age_s)
        try:
            if not await turn.is_clear():
                await turn.wait(wait_s)
            if turn.answer is None:
                self.asked += 1
                answer = await asking()
                if answer:
                    if self.cache.put(key, answer, 60, turn.mark, turn.token):
                        turn.token = ""
                    turn.answered(answer)
            return turn.answer
        finally:
            turn.end()


@pytest.fixture
def worker() -> Worker:
    return Worker(InMemoryResponseCache())


class Gate:
    """The provider: answers once it is opened."""

    def __init__(self, answer: CachedAnswer | None = None) -> None:
        self.opened = asyncio.Event()
        self.entered = 0
        self.answer = answer or an_answer()

    async def __call__(self) -> CachedAnswer | None:
        self.entered += 1
        await self.opened.wait()
        return self.answer


async def settled() -> None:
    """Everybody has gone as far as they can without the provider; nothing here waits for a clock."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_asks_and_all_have_its_answer(worker: Worker) -> None:
    gate = Gate()
    askers = [asyncio.create_task(worker.ask(gate)) for _ in range(50)]
    await settled()
    gate.opened.set()

    assert await asyncio.gather(*askers) == [gate.answer] * 50
    assert worker.asked == 1


async def test_different_questions_do_not_wait_for_each_other(worker: Worker) -> None:
    gate = Gate()
    askers = [asyncio.create_task(worker.ask(gate, key=key_of(seed=number))) for number in range(3)]
    await settled()

    assert gate.entered == 3
    gate.opened.set()
    await asyncio.gather(*askers)


async def test_who_comes_later_finds_the_stored_answer(worker: Worker) -> None:
    gate = Gate()
    gate.opened.set()
    await worker.ask(gate)

    assert await worker.ask(gate) == gate.answer
    assert worker.asked == 1


async def test_who_wants_a_younger_answer_does_not_wait_with_the_others() -> None:
    worker = Worker(_Away())
    gate = Gate()
    askers = [asyncio.create_task(worker.ask(gate, max_age_s=age)) for age in (None, None, 5)]
    await settled()

    assert gate.entered == 2
    gate.opened.set()
    await asyncio.gather(*askers)


class _Away(InMemoryResponseCache):
    """As Valkey is when it does not answer."""

    def look(
        self, key: CacheKey, token: str = "", max_age_s: int | None = None, *, may_read: bool = True
    ) -> Awaitable[Looked]:
        return Found(Looked(None, leads=True))


outcomes = st.lists(st.sampled_from(["answers", "fails", "is refused", "is cancelled"]), min_size=1, max_size=8)


@given(outcomes, st.lists(st.integers(0, 7), max_size=4))
def test_the_next_in_line_asks_until_one_has_an_answer(said: list[str], gone: list[int]) -> None:
    """`said` is how asking goes for each, in line; those in `gone` are cancelled while they wait in line."""

    async def run() -> None:
        worker = Worker(InMemoryResponseCache())
        started = asyncio.Event()
        tasks: list[asyncio.Task[CachedAnswer | None]] = []

        def provider(number: int) -> Callable[[], Awaitable[CachedAnswer | None]]:
            async def ask() -> CachedAnswer | None:
                await started.wait()
                if said[number] == "fails":
                    raise ProviderDown
                if said[number] == "is cancelled":
                    tasks[number].cancel()
                    await asyncio.Event().wait()
                return an_answer(b"%d" % number) if said[number] == "answers" else None

            return ask

        tasks.extend(asyncio.create_task(worker.ask(provider(number))) for number in range(len(said)))
        await settled()
        leaving = {number for number in gone if 0 < number < len(said)}
        for number in leaving:
            tasks[number].cancel()
        started.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)

        line = [number for number in range(len(said)) if number not in leaving]
        first = next((number for number in line if said[number] == "answers"), None)
        asking = [number for number in line if first is None or number <= first]
        assert worker.asked == len(asking)
        for number in line:
            if first is not None and number >= first:
                assert ended[number] == an_answer(b"%d" % first)
        assert not len(worker.flights)
        assert not worker.cache.leads

    asyncio.run(run())


async def test_who_is_to_lead_and_is_cancelled_at_that_moment_passes_it_on(worker: Worker) -> None:
    fails = asyncio.Event()

    async def failing() -> CachedAnswer | None:
        await fails.wait()
        raise ProviderDown

    gate = Gate()
    gate.opened.set()
    leader = asyncio.create_task(worker.ask(failing))
    await settled()
    second = asyncio.create_task(worker.ask(gate))
    third = asyncio.create_task(worker.ask(gate))
    await settled()
    leader.add_done_callback(lambda _: second.cancel())
    fails.set()

    assert await third == gate.answer
    with pytest.raises(ProviderDown):
        await leader
    with pytest.raises(asyncio.CancelledError):
        await second
    assert worker.asked == 2
    assert not len(worker.flights)


async def test_after_the_deadline_a_follower_asks_alone(worker: Worker) -> None:
    gate = Gate()
    leader = asyncio.create_task(worker.ask(gate))
    await settled()
    alone = asyncio.create_task(worker.ask(gate, wait_s=0))
    await until(lambda: gate.entered == 2)
    gate.opened.set()

    await asyncio.gather(leader, alone)
    assert not len(worker.flights)


async def test_a_line_and_the_number_of_lines_are_bounded() -> None:
    worker = Worker(InMemoryResponseCache(), FlightBounds(flights=1, followers=2))
    gate = Gate()
    askers = [asyncio.create_task(worker.ask(gate)) for _ in range(4)]
    askers.append(asyncio.create_task(worker.ask(gate, key=key_of(seed=1))))
    await settled()

    assert gate.entered == 3
    gate.opened.set()
    await asyncio.gather(*askers)
    assert not len(worker.flights)


async def test_of_several_workers_one_asks() -> None:
    cache = InMemoryResponseCache()
    workers = [Worker(cache) for _ in range(4)]
    gate = Gate()
    askers = [asyncio.create_task(worker.ask(gate)) for worker in workers for _ in range(5)]
    await settled()
    gate.opened.set()

    assert await asyncio.gather(*askers) == [gate.answer] * 20
    assert sum(worker.asked for worker in workers) == 1
    assert not cache.leads


async def test_a_worker_that_failed_leaves_it_to_another() -> None:
    cache = InMemoryResponseCache()
    one, other = Worker(cache), Worker(cache)
    failed = asyncio.Event()

    async def failing() -> CachedAnswer | None:
        await failed.wait()
        return None

    gate = Gate()
    gate.opened.set()
    first = asyncio.create_task(one.ask(failing))
    await settled()
    second = asyncio.create_task(other.ask(gate))
    await settled()
    assert other.asked == 0
    failed.set()

    assert await first is None
    assert await second == gate.answer


async def test_nobody_waits_while_an_answer_that_was_found_is_served(worker: Worker) -> None:
    worker.cache.put(KEY, an_answer(), 60, MARK)
    turn = worker.turn()

    assert await turn.is_clear()
    assert turn.answer == an_answer()
    assert not len(worker.flights)


async def test_another_workers_lock_is_not_waited_for_beyond_the_deadline(worker: Worker) -> None:
    await worker.cache.look(KEY, "of a worker that hangs")
    gate = Gate()
    gate.opened.set()

    assert await worker.ask(gate, wait_s=0) == gate.answer


async def test_who_leaves_before_waiting_lets_the_next_one_lead(worker: Worker) -> None:
    gate = Gate()
    gate.opened.set()
    leading, promoted = worker.turn(), worker.turn()
    waiting = asyncio.create_task(worker.ask(gate))
    await settled()
    leading.end()
    promoted.end()

    assert await waiting == gate.answer
    assert (len(worker.flights), worker.cache.leads) == (0, {})


async def test_who_takes_no_earlier_answer_waits_for_nobody_and_leads_nobody(worker: Worker) -> None:
    worker.cache.put(KEY, an_answer(), 60, MARK)
    leading, blind = worker.turn(), worker.flights.blind(KEY)

    assert await blind.is_clear()
    assert (blind.answer, blind.mark) == (None, MARK)
    blind.answered(an_answer(b"new"))
    assert len(worker.flights) == 1
    leading.end()


async def test_an_answer_ends_the_lead_of_a_turn_that_did_not_keep_it(worker: Worker) -> None:
    turn = worker.turn()
    assert await turn.is_clear()
    turn.answered(an_answer())

    assert (worker.cache.leads, len(worker.flights)) == ({}, 0)


async def test_who_has_waited_too_long_just_when_the_leader_fails_asks_alone_and_the_next_one_leads(
    worker: Worker,
) -> None:
    leading, late, third = worker.turn(), worker.turn(), worker.turn()
    waiting = asyncio.create_task(late.wait(LONG_S))
    await settled()
    assert late.place
    late.place.set_exception(TimeoutError())
    leading.end()

    await waiting
    await third.wait(LONG_S)
    assert (late.answer, late.token, third.token != "") == (None, "", True)
    third.end()
    late.end()
    assert (len(worker.flights), worker.cache.leads) == (0, {})


async def test_who_is_cancelled_in_line_is_passed_over(worker: Worker) -> None:
    leading, leaving, third = worker.turn(), worker.turn(), worker.turn()
    waiting = asyncio.create_task(leaving.wait(LONG_S))
    await settled()
    waiting.cancel()
    leading.end()  # before the one that is cancelled knows it
    await asyncio.wait({waiting})
    leaving.end()

    await third.wait(LONG_S)
    assert third.token
    third.end()
    assert (len(worker.flights), worker.cache.leads) == (0, {})
