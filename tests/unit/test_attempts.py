"""One request over many deployments: whatever they do, the client gets one answer or one error, and pays once."""

import asyncio
from contextlib import aclosing
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.breakers import Permit
from domain.errors import (
    AggregatorError,
    CreditExhausted,
    InvalidInput,
    ProviderError,
    ProviderRefused,
    ProviderTimeout,
    Unavailable,
    UnsupportedParameter,
)
from domain.failover import MOST_CALLS
from domain.pricing import Tokens, ceiling_nanos
from domain.request import RequestAdmitted, RequestCompleted, RequestFailed
from domain.retry_budget import RetryBudget, RetryPolicy
from domain.routing import Choice
from domain.upstream import ReplyPiece
from tests.answering import RATES, piece, used
from tests.failing_over import (
    CREDIT_NANOS,
    GOOD,
    GOOD_STREAM,
    HANG,
    INPUT_BOUND,
    OUTPUT,
    CountedBreakers,
    Line,
    RouteHouse,
    Script,
)
from tests.routing import BROKEN, DOWN, TIMEOUT, TOO_LONG, UNREACHABLE, UNSAFE, refused

BOTH = pytest.mark.parametrize("stream", [False, True])
CEILING = ceiling_nanos(INPUT_BOUND, OUTPUT, RATES)
THROTTLED = refused(429, "Slow down.", retry_after_s=1.0)
SHORT: dict[str, Any] = {"attempt_timeout_s": 0.001}

FAILURES: dict[str, tuple[Script, str, int | None]] = {
    "429": (refused(429, "Slow down."), "refused", 429),
    "429 with Retry-After": (THROTTLED, "refused", 429),
    "500": (refused(500), "refused", 500),
    "529": (refused(529, "Overloaded."), "refused", 529),
    "unreachable": (UNREACHABLE, "unreachable", None),
    "timeout": (TIMEOUT, "timeout", None),
    "hang": (HANG, "timeout", None),
    "cut": (BROKEN, "broken", None),
    "malformed": (KeyError("adapter bug with a secret"), "broken", None),
    "wrong key": (refused(401), "refused", 401),
    "no credit there": (refused(402), "refused", 402),
    "no such model": (refused(404), "refused", 404),
}


@BOTH
@pytest.mark.parametrize("failure", FAILURES)
async def test_what_fails_at_one_deployment_is_answered_by_the_next_and_paid_once(failure: str, stream: bool) -> None:
    script, kind, status = FAILURES[failure]
    house = RouteHouse(Line("a", script), Line("b"), **SHORT)

    running, pieces, error = await house.answer(stream=stream)

    end = house.check_books()
    assert error is None
    assert [type(event).__name__ for event in house.requests.events] == [
        *("RequestAdmitted", "RequestAttempted", "RequestCompleted")
    ]
    (attempt,) = house.attempts
    assert (attempt.deployment, attempt.model, attempt.provider, attempt.price_id) == ("a", "m-a", "a", "p-m-a")
    assert (attempt.error_kind, attempt.upstream_status, "secret" in attempt.message) == (kind, status, False)
    assert (end.deployment, end.model, end.provider, end.price_id) == ("b", "m-b", "b", "p-m-b")
    assert (end.attempts, end.cost_nanos, end.evidence, attempt.cost_nanos) == (2, 30, "reported", 0)
    assert (running.attempts, running.candidate.deployment, house.waits) == (2, "b", [])
    assert [(name, told is None) for name, told in house.breakers.told] == [("a", False), ("b", True)]
    assert sum(piece.output_chars for piece in pieces) == (16 if stream else 0)


@BOTH
async def test_without_a_failure_a_route_asks_once_and_says_why_whom(stream: bool) -> None:
    house = RouteHouse(Line("a"), Line("b"))

    await house.answer(stream=stream)

    admitted = house.requests.events[0]
    assert isinstance(admitted, RequestAdmitted)
    assert (admitted.route, admitted.model) == ("fast", "m-a")
    assert msgspec.json.decode(admitted.choice, type=Choice).chosen == "a"
    end = house.check_books()
    assert (end.attempts, end.deployment, house.lines["b"].calls) == (1, "a", [])


@BOTH
@pytest.mark.parametrize("failure", [refused(400), refused(422, "No."), InvalidInput("No.")])
async def test_what_would_be_refused_everywhere_is_told_at_once(failure: AggregatorError, stream: bool) -> None:
    house = RouteHouse(Line("a", failure), Line("b"))

    _, _, error = await house.answer(stream=stream)

    end = house.check_books()
    assert (error, house.attempts, house.lines["b"].calls) == (failure, [], [])
    assert isinstance(end, RequestFailed)
    assert (end.cost_nanos, end.attempts, end.deployment) == (0, 1, "a")


@BOTH
async def test_a_throttled_deployment_alone_is_asked_again_when_it_said(stream: bool) -> None:
    house = RouteHouse(Line("a", THROTTLED, GOOD_STREAM if stream else GOOD))

    _, _, error = await house.answer(stream=stream)

    assert (error, house.check_books().attempts) == (None, 2)
    assert house.waits == [pytest.approx(1.05)]


async def test_nobody_waits_for_a_retry_after_beyond_the_routes_time() -> None:
    house = RouteHouse(Line("a", refused(429, retry_after_s=20.0)), total_timeout_s=10.0, attempt_timeout_s=5.0)

    _, _, error = await house.answer(stream=False)

    assert isinstance(error, ProviderRefused)
    assert (house.waits, house.check_books().attempts) == ([], 1)


async def test_an_overloaded_deployment_alone_is_asked_up_to_the_bound_with_growing_waits() -> None:
    house = RouteHouse(Line("a", DOWN), attempts_max=4)

    _, _, error = await house.answer(stream=False)

    end = house.check_books()
    assert (error, end.attempts, len(house.lines["a"].calls)) == (DOWN, 4, 4)
    assert (len(house.attempts), house.waits) == (3, [0.125, 0.25, 0.5])


async def test_what_may_be_billed_is_not_repeated_where_the_route_forbids_it() -> None:
    house = RouteHouse(Line("a", TIMEOUT), Line("b"), retry_unknown=False)

    running, _, error = await house.answer(stream=False)

    assert (error, house.lines["b"].calls) == (TIMEOUT, [])
    assert running.forbids_repeat(cast(Exception, error))


async def test_a_client_may_repeat_by_itself_what_no_provider_can_have_billed() -> None:
    house = RouteHouse(Line("a", DOWN), Line("b", UNREACHABLE), attempts_max=2)

    running, _, error = await house.answer(stream=False)

    assert isinstance(error, ProviderError)
    assert not running.forbids_repeat(error)


@pytest.mark.parametrize("failure", [BROKEN, HANG, KeyError("bug")])
async def test_a_stream_that_only_reported_usage_before_it_failed_is_another_ones_to_answer(failure: Any) -> None:
    silent = ReplyPiece(b"", 0, "echo-1", None, used(10, 0))
    house = RouteHouse(Line("a", [silent, failure]), Line("b"), **SHORT)

    _, pieces, error = await house.answer(stream=True)

    (attempt,) = house.attempts
    assert (attempt.tokens, attempt.cost_nanos) == (Tokens(input=10), 10)
    assert (error, len(pieces), house.check_books().cost_nanos) == (None, 4, 30)


async def test_what_the_last_provider_bills_without_an_answer_is_recorded_and_not_charged() -> None:
    silent = ReplyPiece(b"", 0, "echo-1", None, used(10, 0))
    house = RouteHouse(Line("a", DOWN), Line("b", [silent, BROKEN]), attempts_max=2)

    running, _, error = await house.answer(stream=True)

    assert (error, [attempt.cost_nanos for attempt in house.attempts]) == (BROKEN, [0, 10])
    assert (house.check_books().cost_nanos, running.forbids_repeat(BROKEN)) == (0, True)


async def test_a_stream_that_delivered_something_is_nobody_elses_to_answer() -> None:
    house = RouteHouse(Line("a", [piece(), piece(9), BROKEN]), Line("b"))

    _, pieces, error = await house.answer(stream=True)

    end = house.check_books()
    assert (error, len(pieces), house.attempts, house.lines["b"].calls) == (BROKEN, 2, [], [])
    assert (end.cost_nanos, end.evidence, end.deployment) == (20 + 3 * 4, "estimated", "a")
    assert house.breakers.told == [("a", BROKEN)]


@BOTH
async def test_a_call_for_which_no_time_is_left_when_it_is_permitted_is_not_made(stream: bool) -> None:
    class Late(CountedBreakers):
        async def admit(self, deployment: str) -> Permit | None:
            house.now_s = 600.0
            return await super().admit(deployment)

    house = RouteHouse(Line("a"), Line("b"), total_timeout_s=600.0)
    house.breakers = house.failover.breakers = Late()

    running, _, error = await house.answer(stream=stream)

    end = house.check_books()
    assert isinstance(error, Unavailable)
    assert (end.evidence, end.cost_nanos, end.attempts, running.forbids_repeat(error)) == ("none", 0, 0, False)
    assert (house.lines["a"].calls, house.lines["b"].calls, house.breakers.left) == ([], [], ["a"])


async def test_a_stream_that_goes_on_beyond_the_routes_time_is_cut_and_charged() -> None:
    house = RouteHouse(Line("a"), Line("b"), total_timeout_s=600.0)
    running = await house.admit(stream=True)

    with pytest.raises(ProviderTimeout):
        async for _ in house.handler.stream(running):
            house.now_s += 301.0

    assert house.check_books().cost_nanos > 0
    assert house.lines["b"].calls == []


async def test_a_stream_without_a_piece_is_an_answer() -> None:
    house = RouteHouse(Line("a", []), Line("b"))

    _, _, error = await house.answer(stream=True)

    assert (error, house.check_books().evidence) == (None, "estimated")


@BOTH
async def test_a_fallback_model_answers_when_the_route_does_not(stream: bool) -> None:
    house = RouteHouse(Line("a", DOWN), Line("b"), deployments=("a",), attempts_max=1, fallback_models=("m-b",))

    _, _, error = await house.answer(stream=stream)

    end = house.check_books()
    assert (error, end.attempts, end.model, end.deployment) == (None, 2, "m-b", "model:m-b")
    assert house.lines["b"].calls[0].upstream_model == "up-m-b"


@pytest.mark.parametrize(("failure", "kind"), [(TOO_LONG, "context_fallbacks"), (UNSAFE, "content_fallbacks")])
async def test_what_is_too_long_or_refused_goes_to_the_fallbacks_for_that(failure: ProviderError, kind: str) -> None:
    fields: dict[str, Any] = {kind: ("long",), "fallback_models": ("m-b",)}
    house = RouteHouse(Line("a", failure), Line("b"), Line("c"), deployments=("a", "b"), **fields)
    house.add_route("long", "c")

    _, _, error = await house.answer(stream=False)

    assert (error, house.check_books().deployment, house.lines["b"].calls) == (None, "c", [])


async def test_a_plain_model_that_is_fallen_back_to_gets_no_more_time_than_the_routes_own() -> None:
    house = RouteHouse(Line("a", DOWN), Line("b", HANG), deployments=("a",), fallback_models=("m-b",), **SHORT)

    _, _, error = await house.answer(stream=False)

    assert isinstance(error, ProviderTimeout)
    assert house.check_books().model == "m-b"


async def test_a_fallback_that_is_gone_is_passed_over() -> None:
    fields: dict[str, Any] = {"deployments": ("a",), "attempts_max": 1, "fallback_models": ("gone", "m-b")}
    house = RouteHouse(Line("a", DOWN), Line("b"), **fields)

    _, _, error = await house.answer(stream=False)

    assert (error, house.check_books().model) == (None, "m-b")


async def test_the_dearest_candidate_is_reserved_for_where_the_credit_bears_it() -> None:
    house = RouteHouse(Line("a", DOWN), Line("b"), times={"b": 5})

    running, _, error = await house.answer(stream=False)

    assert (error, running.reservation.amount_nanos) == (None, 5 * CEILING)
    assert (house.check_books().cost_nanos, house.requests.end.price_id) == (150, "p-m-b")


async def test_a_candidate_dearer_than_the_credit_is_skipped_with_the_reason() -> None:
    house = RouteHouse(Line("a", DOWN), Line("b"), Line("c"), times={"b": 50})

    running, _, error = await house.answer(stream=False)

    end = house.check_books()
    assert (error, end.deployment, house.lines["b"].calls) == (None, "c", [])
    assert [(attempt.deployment, attempt.error_kind) for attempt in house.attempts] == [
        *(("a", "refused"), ("b", "unaffordable"))
    ]
    assert (running.reservation.amount_nanos, end.cost_nanos) == (CEILING, 30)
    assert [name for name, _ in house.breakers.told] == ["a", "c"]


async def test_when_the_rest_is_too_dear_the_client_hears_what_the_provider_said() -> None:
    house = RouteHouse(Line("a", refused(401)), Line("b"), times={"b": 50})

    _, _, error = await house.answer(stream=False)

    end = house.check_books()
    assert isinstance(error, ProviderRefused)
    assert isinstance(end, RequestFailed)
    assert (end.attempts, len(house.attempts), end.upstream_status, end.deployment) == (2, 2, 401, "a")


async def test_a_fallbacks_price_is_checked_and_more_is_held_for_it() -> None:
    fields: dict[str, Any] = {"deployments": ("a",), "attempts_max": 1}
    house = RouteHouse(Line("a", DOWN), Line("b"), times={"b": 5}, fallback_models=("m-b",), **fields)
    poor = RouteHouse(Line("a", DOWN), Line("b"), times={"b": 50}, fallback_models=("m-b",), **fields)

    running, _, error = await house.answer(stream=False)
    _, _, refusal = await poor.answer(stream=False)

    assert (error, running.held_nanos, house.check_books().cost_nanos) == (None, 5 * CEILING, 150)
    assert isinstance(refusal, ProviderRefused)
    assert (poor.check_books().cost_nanos, poor.attempts[-1].error_kind) == (0, "unaffordable")


async def test_without_credit_for_the_first_nothing_is_recorded_or_asked() -> None:
    house = RouteHouse(Line("a"), Line("b"), times={"b": 2})

    with pytest.raises(CreditExhausted):
        await house.admit(credit_nanos=CEILING - 1)

    assert (house.requests.events, house.lines["a"].calls) == ([], [])


async def test_an_unpriced_candidate_is_charged_its_ceiling_and_not_what_the_dearest_would_cost() -> None:
    house = RouteHouse(Line("a"), Line("b"), times={"a": None, "b": 8})

    running, _, _ = await house.answer(stream=False)

    assert running.reservation.amount_nanos == 8 * CEILING
    assert house.check_books().cost_nanos == 10_000


async def test_who_cannot_do_what_is_asked_is_passed_over_at_admission_and_later() -> None:
    lacking = UnsupportedParameter("logit_bias", "Not here.", capability="logit_bias")
    house = RouteHouse(Line("a", cannot=lacking), Line("b", DOWN), Line("c", cannot=lacking), Line("d"), attempts_max=5)

    _, _, error = await house.answer(stream=False)

    assert (error, house.check_books().deployment) == (None, "d")
    admitted = house.requests.events[0]
    assert isinstance(admitted, RequestAdmitted)
    assert (admitted.model, "unsupported" in {attempt.error_kind for attempt in house.attempts}) == ("m-b", True)


async def test_what_no_candidate_can_do_is_refused_before_credit_is_touched() -> None:
    lacking = UnsupportedParameter("logit_bias", "Not here.", capability="logit_bias")
    house = RouteHouse(Line("a", cannot=lacking), Line("b", cannot=lacking))

    with pytest.raises(UnsupportedParameter):
        await house.admit()

    assert (house.requests.events, len(house.leases)) == ([], 0)


async def test_a_deployment_whose_breaker_refuses_is_passed_over_without_an_attempt() -> None:
    house = RouteHouse(Line("a"), Line("b"))
    house.breakers.closed_off = {"a"}

    _, _, error = await house.answer(stream=False)

    assert (error, house.check_books().deployment, house.attempts) == (None, "b", [])


async def test_when_every_breaker_refuses_the_request_ends_unasked_and_may_be_repeated() -> None:
    house = RouteHouse(Line("a"), Line("b"))
    house.breakers.closed_off = {"a", "b"}

    running, _, error = await house.answer(stream=False)

    end = house.check_books()
    assert isinstance(error, Unavailable)
    assert isinstance(end, RequestFailed)
    assert (end.error_kind, end.attempts, end.cost_nanos, running.forbids_repeat(error)) == ("unavailable", 0, 0, False)


async def test_an_empty_retry_budget_ends_it_after_the_first_failure() -> None:
    house = RouteHouse(Line("a", DOWN), Line("b"))
    house.failover.budget = RetryBudget(RetryPolicy(share=0.0, minimum_per_s=0.0), 0.0, 0.0)

    _, _, error = await house.answer(stream=False)

    assert (error, house.check_books().attempts, house.lines["b"].calls) == (DOWN, 1, [])


async def test_each_retry_takes_one_from_the_budget() -> None:
    house = RouteHouse(Line("a", DOWN), Line("b", DOWN), Line("c"))
    house.failover.budget = RetryBudget(RetryPolicy(share=0.0, minimum_per_s=0.0), 5.0, 0.0)

    await house.answer(stream=False)

    assert house.failover.budget.tokens == 3.0


async def test_a_request_given_up_while_a_provider_works_is_estimated_and_its_permit_goes_back() -> None:
    house = RouteHouse(Line("a", HANG), Line("b"))

    await house.cancelled(await house.admit())

    end = house.check_books()
    assert (end.evidence, end.cost_nanos, house.breakers.left) == ("estimated", 24, ["a"])


async def test_a_request_given_up_between_two_attempts_costs_nothing() -> None:
    house = RouteHouse(Line("a", THROTTLED))
    running = await house.admit()

    async def for_ever(seconds: float) -> None:
        await asyncio.Event().wait()

    house.failover.sleep = for_ever
    await house.cancelled(running)

    end = house.check_books()
    assert (end.evidence, end.cost_nanos, end.attempts) == ("none", 0, 1)


async def test_a_stream_that_is_no_longer_read_gives_its_permit_back() -> None:
    house = RouteHouse(Line("a"), Line("b"))
    running = await house.admit(stream=True)

    async with aclosing(cast(Any, house.handler.stream(running))) as pieces:
        await anext(pieces)
    await house.settles()

    end = house.check_books()
    assert (end.evidence, end.cost_nanos, house.breakers.told) == ("estimated", 24, [("a", None)])


async def test_a_plain_model_is_asked_once_and_its_events_are_as_before() -> None:
    house = RouteHouse(Line("a", DOWN), Line("b"))

    running, _, error = await house.answer(stream=False, name="m-a")

    admitted, end = house.requests.events
    assert (error, running.attempts, house.breakers.told) == (DOWN, 1, [])
    assert isinstance(admitted, RequestAdmitted)
    written = (msgspec.json.decode(msgspec.json.encode(event)) for event in (admitted, end))
    assert not any({"route", "choice", "attempts", "deployment"} & event.keys() for event in written)


async def test_latency_is_of_answers_and_of_waits_in_vain() -> None:
    house = RouteHouse(Line("a", DOWN), Line("b", TIMEOUT), Line("c"))

    await house.answer(stream=False)

    known = [house.views.latency_ms(name, stream=False) is not None for name in "abc"]
    assert known == [False, True, True]


FAULTS: list[Script] = [script for script, _, _ in FAILURES.values()] + [TOO_LONG, UNSAFE, refused(400)]
SCRIPTS = st.lists(st.sampled_from([*FAULTS, GOOD]), min_size=1, max_size=4)
STREAMS = st.lists(
    st.sampled_from([*([each] for each in FAULTS), GOOD_STREAM, [piece(), BROKEN], [piece(9), TIMEOUT]])
    | st.lists(st.sampled_from([ReplyPiece(b"", 0, "", None, used(3, 0)), piece(4), BROKEN, DOWN]), max_size=4),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=80)
@given(st.data(), st.booleans(), st.integers(1, 4), st.booleans())
def test_whatever_fails_there_is_one_end_a_bounded_number_of_calls_and_nothing_held(
    data: st.DataObject, stream: bool, attempts_max: int, retry_unknown: bool
) -> None:
    lines = [Line(name, *data.draw(STREAMS if stream else SCRIPTS)) for name in "abc"]  # type: ignore[misc]
    times = {name: data.draw(st.sampled_from([None, 1, 2, 50])) for name in "bc"}
    fields: dict[str, Any] = {
        "deployments": ("a", "b"),
        "fallback_models": ("m-c",),
        "context_fallbacks": ("m-c",),
        "retry_unknown": retry_unknown,
    }
    refused_by_breakers = data.draw(st.sets(st.sampled_from("abc")))

    async def run() -> None:
        house = RouteHouse(*lines, times=times, attempts_max=attempts_max, **SHORT, **fields)
        house.breakers.closed_off = refused_by_breakers
        async with asyncio.timeout(20):
            _, pieces, error = await house.answer(stream=stream)
            await house.settles()
        end = house.check_books()
        calls = sum(len(line.calls) for line in lines)
        assert calls <= min(attempts_max + 1, MOST_CALLS)
        assert len(house.breakers.told) == calls
        assert isinstance(end, RequestCompleted) == (error is None)
        assert error is None or isinstance(error, AggregatorError)
        if error is not None and not pieces:
            assert end.cost_nanos == 0
        assert end.cost_nanos <= CREDIT_NANOS

    asyncio.run(run())
