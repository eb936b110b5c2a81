"""Two calls side by side for a slow answer: one of them answers and is paid, the other is given up and accounted."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from domain.breakers import Permit
from domain.pricing import Tokens, ceiling_nanos
from domain.request import RequestCompleted, RequestFailed
from domain.upstream import ProviderCall, ReplyPiece
from tests.answering import RATES, piece, used
from tests.failing_over import (
    GOOD,
    HANG,
    INPUT_BOUND,
    OUTPUT,
    CountedBreakers,
    Gate,
    Line,
    LineCall,
    RouteHouse,
    Scripted,
)
from tests.hedging import NO_BUDGET, TURNS, BreaksWhenCancelled, HedgeHouse, gated, good, turn
from tests.routing import BROKEN, DOWN, refused

BOTH = pytest.mark.parametrize("stream", [False, True])
CEILING = ceiling_nanos(INPUT_BOUND, OUTPUT, RATES)
SILENT = ReplyPiece(b"", 0, "echo-1", None, used(10, 0))


@BOTH
async def test_a_second_call_answers_for_one_that_gives_nothing(stream: bool) -> None:
    house = HedgeHouse(Line("a", HANG), Line("b"))

    running, _, error = await house.answer(stream=stream)

    end = await house.closed()
    (lost,) = house.attempts
    assert isinstance(end, RequestCompleted)
    assert (error, end.deployment, end.price_id, end.attempts, end.hedged) == (None, "b", "p-m-b", 2, True)
    assert (end.cost_nanos, end.evidence, running.candidate.deployment) == (30, "reported", "b")
    assert (lost.deployment, lost.number, lost.error_kind) == ("a", 1, "hedged")
    assert (lost.tokens, lost.cost_nanos, lost.evidence) == (Tokens(input=20), 20, "estimated")
    assert (house.waits, house.drawn) == ([2.0], 1.0)


@BOTH
async def test_who_is_outrun_is_not_sick_but_as_slow_as_it_was_waited_for(stream: bool) -> None:
    house = HedgeHouse(Line("a", HANG), Line("b"), is_due=False)
    _, task = await house.begin(stream=stream)

    house.now_s = 2.0
    house.due.set()
    await task

    assert (house.breakers.told, house.breakers.left) == ([("b", None)], ["a"])
    assert house.views.latency_ms("a", stream=stream) == 2_000
    assert house.views.latency_ms("b", stream=stream) == 0


@BOTH
async def test_company_that_was_not_needed_is_not_known_to_be_slow_or_fast(stream: bool) -> None:
    line, gate = gated(stream, "a")
    house = HedgeHouse(line, Line("b", HANG))
    _, task = await house.begin(stream=stream)

    house.now_s = 0.001
    gate.give(good(stream))
    await task

    assert house.breakers.left == ["b"]
    assert house.views.latency_ms("b", stream=stream) is None


async def test_a_client_that_leaves_says_nothing_about_how_slow_anybody_is() -> None:
    house = HedgeHouse(Line("a", HANG), Line("b", HANG))
    _, task = await house.begin(stream=False)

    house.now_s = 60.0
    await house.leave(task)

    assert [house.views.latency_ms(name, stream=False) for name in "ab"] == [None, None]


async def test_company_for_which_the_time_was_over_before_it_was_permitted_is_not_asked() -> None:
    class Late(CountedBreakers):
        async def admit(self, deployment: str) -> Permit | None:
            if deployment == "b":
                house.now_s = 9.6
            return await super().admit(deployment)

    line, gate = gated(False, "a")
    house = HedgeHouse(line, Line("b"), total_timeout_s=10.0, attempt_timeout_s=10.0)
    house.breakers = house.failover.breakers = Late()
    _, task = await house.begin(stream=False)

    gate.give(GOOD)

    assert await task is None
    end = await house.closed()
    assert (house.lines["b"].calls, house.breakers.left, house.drawn, end.hedged) == ([], ["b"], 0.0, False)


@BOTH
async def test_what_a_call_says_after_it_was_given_up_counts_for_nothing(stream: bool) -> None:
    gate, problems = BreaksWhenCancelled(), list[Any]()
    house = HedgeHouse(Line("a", [gate] if stream else gate), Line("b"))
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))

    _, _, error = await house.answer(stream=stream)

    assert (error, (await house.closed()).attempts, house.said) == (None, 2, [("a", "hedged")])
    gc.collect()
    assert (house.breakers.told, house.breakers.left, problems) == ([("b", None)], ["a"], [])


@BOTH
async def test_the_first_call_still_answers_when_it_is_sooner(stream: bool) -> None:
    line, gate = gated(stream, "a")
    house = HedgeHouse(line, Line("b", HANG))
    running, task = await house.begin(stream=stream)
    assert (len(house.lines["b"].calls), running.candidate.deployment, running.attempts) == (1, "a", 2)

    gate.give(good(stream))

    assert await task is None
    end = await house.closed()
    assert (house.said, end.deployment, end.attempts, end.cost_nanos) == ([("b", "hedged")], "a", 2, 30)
    assert (house.breakers.told, house.breakers.left) == ([("a", None)], ["b"])


@BOTH
async def test_a_quick_answer_gets_no_company(stream: bool) -> None:
    house = HedgeHouse(Line("a"), Line("b"), is_due=False)

    await house.answer(stream=stream)

    end = await house.closed()
    assert (house.lines["b"].calls, house.attempts, house.drawn) == ([], [], 0.0)
    assert (end.attempts, end.hedged) == (1, False)


@BOTH
async def test_a_route_without_hedging_calls_in_the_requests_own_task(stream: bool) -> None:
    tasks: list[object] = []

    class Watched(Line):
        def next_script(self, call: ProviderCall) -> list[Scripted]:
            tasks.append(asyncio.current_task())
            return super().next_script(call)

    house = RouteHouse(Watched("a"), Line("b"))

    await house.answer(stream=stream)

    assert tasks == [asyncio.current_task()]


async def test_nothing_is_begun_beside_a_stream_that_has_given_something() -> None:
    gate = Gate()
    house = HedgeHouse(Line("a", [piece(4), gate]), Line("b"), is_due=False)
    _, task = await house.begin(stream=True)

    house.due.set()
    await turn(TURNS)
    gate.give(BROKEN)

    assert await task is BROKEN
    end = await house.closed()
    assert (house.lines["b"].calls, house.attempts, end.hedged) == ([], [], False)


async def test_a_stream_that_has_only_reported_usage_has_given_nothing() -> None:
    house = HedgeHouse(Line("a", [SILENT, HANG]), Line("b"))

    await house.answer(stream=True)

    await house.closed()
    (lost,) = house.attempts
    assert (lost.error_kind, lost.tokens, lost.cost_nanos, lost.evidence) == (
        *("hedged", Tokens(input=10), 10),
        "reported",
    )


@BOTH
async def test_of_two_answers_at_once_the_first_calls_is_taken_and_the_others_bill_is_known(stream: bool) -> None:
    (line, one), (company, other) = gated(stream, "a"), gated(stream, "b")
    house = HedgeHouse(line, company)
    _, task = await house.begin(stream=stream)

    other.give(good(stream))
    one.give(good(stream))

    assert await task is None
    end = await house.closed()
    (lost,) = house.attempts
    assert (end.deployment, end.cost_nanos, lost.deployment, lost.error_kind) == ("a", 30, "b", "hedged")
    assert (lost.cost_nanos, lost.evidence) == ((20, "estimated") if stream else (30, "reported"))


@BOTH
async def test_credit_is_held_for_both(stream: bool) -> None:
    house = HedgeHouse(Line("a", HANG), Line("b", HANG), times={"b": 2})
    running, task = await house.begin(stream=stream)

    assert running.held_nanos == 3 * CEILING
    await house.leave(task)
    await house.closed()


async def test_what_the_credit_does_not_bear_is_not_begun_and_takes_nothing_from_the_retry_budget() -> None:
    line, gate = gated(False, "a")
    house = HedgeHouse(line, Line("b"))
    _, task = await house.begin(stream=False, credit_nanos=2 * CEILING - 1)

    gate.give(GOOD)

    assert await task is None
    end = await house.closed()
    assert (house.lines["b"].calls, house.attempts, house.drawn, end.hedged) == ([], [], 0.0, False)


async def test_the_next_one_is_asked_when_one_is_too_dear_and_one_cannot_and_one_is_not_permitted() -> None:
    lines = (Line("a", HANG), Line("dear"), Line("lacking", cannot=KeyError("bug")), Line("closed"), Line("e"))
    house = HedgeHouse(*lines, times={"dear": 50}, attempts_max=9)
    house.breakers.closed_off = {"closed"}

    _, _, error = await house.answer(stream=False)

    end = await house.closed()
    assert (error, end.deployment, end.attempts, house.said) == (None, "e", 2, [("a", "hedged")])
    assert house.drawn == 1.0


async def test_without_a_retry_budget_there_is_no_company() -> None:
    line, gate = gated(False, "a")
    house = HedgeHouse(line, Line("b"))
    house.failover.budget = NO_BUDGET
    _, task = await house.begin(stream=False)

    gate.give(GOOD)

    assert await task is None
    assert ((await house.closed()).hedged, house.lines["b"].calls) == (False, [])


async def test_who_spends_the_last_of_the_retry_budget_meanwhile_has_it() -> None:
    class Meanwhile(Line):
        def prepare(self, call: ProviderCall) -> LineCall:
            house.failover.budget = NO_BUDGET
            return super().prepare(call)

    line, gate = gated(False, "a")
    house = HedgeHouse(line, Meanwhile("b"))
    _, task = await house.begin(stream=False)

    gate.give(GOOD)

    assert await task is None
    assert ((await house.closed()).hedged, house.lines["b"].calls, house.breakers.left) == (False, [], ["b"])


@BOTH
async def test_when_the_first_call_fails_the_second_goes_on_alone(stream: bool) -> None:
    (line, one), (company, other) = gated(stream, "a"), gated(stream, "b")
    house = HedgeHouse(line, company)
    running, task = await house.begin(stream=stream)

    one.give(DOWN)
    await turn(TURNS)
    assert (running.candidate.deployment, house.said) == ("b", [("a", "refused")])
    other.give(good(stream))

    assert await task is None
    end = await house.closed()
    assert (end.deployment, end.attempts, end.hedged, end.cost_nanos) == ("b", 2, True, 30)
    assert house.breakers.told == [("a", DOWN), ("b", None)]


@BOTH
async def test_when_the_second_call_fails_the_first_goes_on_alone(stream: bool) -> None:
    (line, one), (company, other) = gated(stream, "a"), gated(stream, "b")
    house = HedgeHouse(line, company)
    running, task = await house.begin(stream=stream)

    other.give(DOWN)
    await turn(TURNS)
    assert (running.candidate.deployment, house.said) == ("a", [("b", "refused")])
    one.give(good(stream))

    assert await task is None
    end = await house.closed()
    assert (end.deployment, end.attempts, end.hedged, end.cost_nanos) == ("a", 2, True, 30)


@BOTH
async def test_when_both_fail_another_is_asked_and_there_is_no_second_company(stream: bool) -> None:
    (line, one), (company, other) = gated(stream, "a"), gated(stream, "b")
    third, last = gated(stream, "c")
    house = HedgeHouse(line, company, third, Line("d"), attempts_max=4)
    _, task = await house.begin(stream=stream)

    other.give(DOWN)
    one.give(DOWN)
    await turn(TURNS)
    last.give(good(stream))

    assert await task is None
    end = await house.closed()
    assert (sorted(house.said), end.deployment) == ([("a", "refused"), ("b", "refused")], "c")
    assert (end.attempts, house.waits, house.lines["d"].calls, house.drawn) == (3, [2.0], [], 2.0)


@BOTH
async def test_when_both_fail_and_nobody_is_left_the_client_is_told_the_last_failure_once(stream: bool) -> None:
    (line, one), (company, other) = gated(stream, "a"), gated(stream, "b")
    house = HedgeHouse(line, company, attempts_max=2)
    _, task = await house.begin(stream=stream)

    one.give(refused(500, "First."))
    await turn(TURNS)
    other.give(refused(500, "Last."))

    assert str(await task) == "Last."
    end = await house.closed()
    assert isinstance(end, RequestFailed)
    assert (end.deployment, end.message, end.attempts, end.hedged, end.cost_nanos) == ("b", "Last.", 2, True, 0)
    assert [(attempt.deployment, attempt.message) for attempt in house.attempts] == [("a", "First.")]


async def test_a_first_call_that_fails_before_the_time_is_over_is_an_ordinary_failure() -> None:
    line, gate = gated(False, "b")
    house = HedgeHouse(Line("a", DOWN), line, Line("c", HANG), is_due=False)
    running, task = await house.begin(stream=False)
    assert (house.said, running.hedged, house.waits) == ([("a", "refused")], False, [2.0, 2.0])

    house.due.set()
    await turn(TURNS)
    gate.give(GOOD)

    assert await task is None
    end = await house.closed()
    assert (end.deployment, end.attempts, house.said) == ("b", 3, [("a", "refused"), ("c", "hedged")])


@BOTH
async def test_a_client_that_leaves_ends_both_and_is_charged_for_one(stream: bool) -> None:
    house = HedgeHouse(Line("a", HANG), Line("b", HANG), times={"b": 5})
    _, task = await house.begin(stream=stream)

    await house.leave(task)

    end = await house.closed()
    assert isinstance(end, RequestFailed)
    assert (end.error_kind, end.deployment, end.attempts, end.cost_nanos) == ("given_up", "a", 2, 24)
    assert [(lost.deployment, lost.cost_nanos, lost.evidence) for lost in house.attempts] == [("b", 100, "estimated")]
    assert (sorted(house.breakers.left), house.drawn) == (["a", "b"], 1.0)


@BOTH
@pytest.mark.parametrize("house", [lambda: RouteHouse(Line("a")), lambda: HedgeHouse(Line("a", HANG), Line("b"))])
async def test_no_request_leaves_anything_to_the_garbage_collector(
    house: Callable[[], RouteHouse], stream: bool
) -> None:
    opened = house()
    await opened.answer(stream=stream)
    await opened.settles()
    opened.requests.events.clear()
    gc.collect()
    gc.disable()
    try:
        await opened.answer(stream=stream)
        await opened.settles()
        assert gc.collect() == 0
    finally:
        gc.enable()
