"""What is done after every way in which a call can fail."""

import random
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.deployment import Route
from domain.errors import AggregatorError, InvalidInput, Unavailable
from domain.failover import (
    LEAST_TIME_S,
    LONGEST_RETRY_AFTER_S,
    MOST_CALLS,
    Attempt,
    FallBackTo,
    GiveUp,
    Now,
    Plan,
    Step,
    TryNext,
    hedge,
    next_step,
)
from domain.faults import Fault, fault_of, retry_after_s
from tests.routing import (
    BROKEN,
    DOWN,
    TIMEOUT,
    TOO_LONG,
    UNPAYABLE,
    UNREACHABLE,
    UNSAFE,
    every_error,
    failed,
    refused,
    route,
)

ERRORS = list(every_error())
EVERYTHING = route(
    fallback_models=("other",), context_fallbacks=("long",), content_fallbacks=("lenient",), attempts_max=5
)
ALONE = route("fast", "a", attempts_max=5)
AT_START = Now(0.0)


def plan(asked: Route = EVERYTHING, candidates: tuple[str, ...] = ("a", "b")) -> Plan:
    return Plan((asked,), candidates, started_s=0.0)


def step(attempts: list[Attempt], asked: Plan | None = None, now: Now = AT_START, chance: float = 0.5) -> Step:
    return next_step(asked or plan(), attempts, now, lambda: chance)


FALLBACK: dict[Fault, str | None] = {
    "unreachable": "other",
    "timeout": "other",
    "broken": "other",
    "overloaded": "other",
    "throttled": "other",
    "exhausted": "other",
    "credentials": "other",
    "missing": "other",
    "unaffordable": "other",
    "context": "long",
    "content": "lenient",
    "request": None,
    "ours": None,
}
ANOTHER = set(FALLBACK) - {"context", "content", "request", "ours"}
SAME_AGAIN = {"unreachable", "overloaded", "throttled"}


def every_case() -> Iterator[tuple[AggregatorError, bool, float, bool, bool]]:
    """Error x delivered x time gone x retry budget x whether what may be billed is tried elsewhere."""
    yield from product(ERRORS, (False, True), (0.0, 599.4, 599.9, 1e9), (True, False), (True, False))


def test_another_deployment_is_asked_for_what_another_can_do_better() -> None:
    for error, delivered, now_s, allowed, unknown_too in every_case():
        asked = plan(route(attempts_max=5, retry_unknown=unknown_too))
        answer = step([failed("a", error, delivered=delivered)], asked, Now(now_s, allowed))

        fault = fault_of(error)
        free = fault in ("context", "content", "unaffordable")
        wanted = (
            not delivered
            and fault in ANOTHER
            and now_s <= 599.5
            and (allowed or free)
            and (unknown_too or fault not in ("timeout", "broken"))
        )
        assert isinstance(answer, TryNext if wanted else GiveUp), (error, delivered, now_s, allowed, unknown_too)
        if isinstance(answer, TryNext):
            assert (answer.deployment, answer.after_s, answer.is_retry) == ("b", 0.0, not free)
            assert LEAST_TIME_S <= answer.timeout_s <= min(300.0, 600.0 - now_s)
        else:
            assert answer.error is error


def test_the_same_one_again_is_asked_only_for_what_passes_and_cannot_have_been_billed() -> None:
    for error, delivered, now_s, allowed, _ in every_case():
        answer = step([failed("a", error, delivered=delivered)], plan(ALONE, ("a",)), Now(now_s, allowed))

        asked_s = retry_after_s(error)
        wait_s = 0.125 if asked_s is None else asked_s * 1.05
        wanted = (
            not delivered
            and fault_of(error) in SAME_AGAIN
            and allowed
            and (asked_s is None or asked_s <= LONGEST_RETRY_AFTER_S)
            and 600.0 - now_s - wait_s >= LEAST_TIME_S
        )
        if wanted:
            timeout_s = min(300.0, 600.0 - now_s - wait_s)
            assert answer == TryNext("a", wait_s, timeout_s, is_retry=True), (error, now_s)
        else:
            assert isinstance(answer, GiveUp), (error, now_s)


def test_each_failure_has_its_own_fallbacks() -> None:
    for error, delivered, now_s, allowed, unknown_too in every_case():
        asked = plan(
            route(
                fallback_models=("other",),
                context_fallbacks=("long",),
                content_fallbacks=("lenient",),
                attempts_max=1,
                retry_unknown=unknown_too,
            )
        )
        answer = step([failed("a", error, delivered=delivered)], asked, Now(now_s, allowed))

        fault = fault_of(error)
        model = FALLBACK[fault]
        unknown = fault in ("timeout", "broken") and not unknown_too
        broke = not allowed and fault not in ("context", "content", "unaffordable")
        if fault == "unaffordable" and not delivered and now_s <= 599.5:
            assert isinstance(answer, TryNext)  # nothing was sent: the route's calls are not used up
        elif model and not delivered and now_s <= 599.5 and not unknown and not broke:
            assert answer == FallBackTo(model, fault)
        else:
            assert isinstance(answer, GiveUp)


def test_at_first_the_first_candidate_is_tried_and_costs_no_retry() -> None:
    assert step([], now=Now(0, retry_allowed=False)) == TryNext("a", 0.0, 300.0, is_retry=False)


def test_what_cannot_be_used_now_is_passed_over() -> None:
    assert step([], now=Now(0, unavailable=frozenset("a"))) == TryNext("b", 0.0, 300.0, is_retry=False)
    assert step([], now=Now(0, unavailable=frozenset("ab"))) == FallBackTo("other", "unavailable")


def test_with_nobody_at_all_the_answer_is_to_come_again() -> None:
    answer = step([], plan(ALONE, ()))

    assert isinstance(answer, GiveUp) and isinstance(answer.error, Unavailable) and not answer.possibly_billed


def test_an_input_too_long_for_all_goes_to_the_models_for_that() -> None:
    assert step([], Plan((EVERYTHING,), (), 0.0, too_long=True)) == FallBackTo("long", "context")
    answer = step([], Plan((ALONE,), (), 0.0, too_long=True))
    assert isinstance(answer, GiveUp) and isinstance(answer.error, InvalidInput)
    assert answer.error.code == "context_length_exceeded"


def test_waits_grow_by_chance_and_within_bounds() -> None:
    asked = plan(route("fast", "a", attempts_max=10, total_timeout_s=3000.0), ("a",))
    waits: list[float] = []
    for count in range(1, 10):
        answer = step([failed("a")] * count, asked, chance=0.999999)
        assert isinstance(answer, TryNext)
        waits.append(answer.after_s)
    assert waits == pytest.approx([0.25, 0.5, 1, 2, 4, 8, 8, 8, 8], rel=1e-3)
    assert step([failed("a")], asked, chance=0.0) == TryNext("a", 0.0, 300.0, is_retry=True)


@given(st.floats(0, 400), st.floats(0, 1, exclude_max=True))
def test_nobody_comes_back_before_the_provider_said(asked_s: float, chance: float) -> None:
    answer = step([failed("a", refused(429, retry_after_s=asked_s))], plan(ALONE, ("a",)), chance=chance)

    if asked_s > LONGEST_RETRY_AFTER_S:
        assert isinstance(answer, GiveUp)
    else:
        assert isinstance(answer, TryNext) and asked_s <= answer.after_s <= asked_s * 1.1


def test_with_another_model_at_hand_nobody_waits_long_for_the_same() -> None:
    asked = plan(route("fast", "a", fallback_models=("other",)), ("a",))

    assert step([failed("a", refused(429, retry_after_s=10))], asked) == FallBackTo("other", "throttled")
    assert isinstance(step([failed("a", refused(429, retry_after_s=1))], asked), TryNext)


def test_a_wait_that_would_end_after_the_deadline_is_not_begun() -> None:
    answer = step([failed("a", refused(503, retry_after_s=20))], plan(ALONE, ("a",)), Now(585.0))

    assert isinstance(answer, GiveUp) and answer.why == "no_time"


def test_fallbacks_of_where_we_are_come_before_those_of_where_we_came_from() -> None:
    first = route("first", "a", fallback_models=("second", "third"), attempts_max=1)
    second = route("second", "b", fallback_models=("deeper",), attempts_max=1)
    deeper = route("deeper", "c", attempts_max=1)
    there = plan(first, ("a",))
    attempts = [failed("a", route="first")]

    assert step(attempts, there) == FallBackTo("second", "overloaded")
    there = there.fallen_back(second, ("b",))
    attempts.append(failed("b", route="second"))
    assert step(attempts, there) == FallBackTo("deeper", "overloaded")
    there = there.fallen_back(deeper, ("c",))
    attempts.append(failed("c", route="deeper"))
    assert step(attempts, there) == FallBackTo("third", "overloaded")
    assert isinstance(step(attempts, there, Now(0, hopeless=frozenset({"third"}))), GiveUp)


def test_a_deployment_that_failed_is_not_fresh_because_another_route_names_it() -> None:
    second = route("second", "a", "b")
    there = plan(route("first", "a", attempts_max=1), ("a",)).fallen_back(second, ("a", "b"))

    answer = step([failed("a", route="first")], there)

    assert isinstance(answer, TryNext) and answer.deployment == "b"


def test_what_a_provider_said_is_told_rather_than_that_the_next_one_is_too_dear() -> None:
    answer = step([failed("a", DOWN), failed("b", UNPAYABLE)], plan(route(attempts_max=1)))

    assert isinstance(answer, GiveUp) and answer.error is DOWN


MODELS = ("m0", "m1", "m2", "m3")
FALLBACKS = st.lists(st.sampled_from(MODELS), max_size=3, unique=True).map(tuple)


@given(st.data())
def test_every_request_ends_within_its_bounds_whatever_happens(data: st.DataObject) -> None:
    routes = {
        name: route(
            name,
            *(f"{name}-{number}" for number in range(3)),
            fallback_models=data.draw(FALLBACKS),
            context_fallbacks=data.draw(FALLBACKS),
            content_fallbacks=data.draw(FALLBACKS),
            attempts_max=data.draw(st.integers(1, 10)),
        )
        for name in MODELS
    }
    chance = random.Random(data.draw(st.integers(0, 99)))
    asked = routes["m0"]
    there, attempts, now_s = Plan((asked,), asked.deployments, 0.0), list[Attempt](), 0.0
    for _ in range(MOST_CALLS + len(MODELS)):
        answer = next_step(there, attempts, Now(now_s, unavailable=frozenset({"m1-0"})), chance.random)
        if isinstance(answer, GiveUp):
            return
        if isinstance(answer, FallBackTo):
            assert answer.model not in {been.name for been in there.trail}
            there = there.fallen_back(routes[answer.model], routes[answer.model].deployments)
            continue
        assert answer.deployment in there.candidates and answer.deployment != "m1-0"
        assert answer.after_s >= 0 and now_s + answer.after_s + answer.timeout_s <= there.deadline_s + 1e-6
        now_s += answer.after_s + data.draw(st.floats(0, 1)) * answer.timeout_s
        error = data.draw(st.sampled_from([UNREACHABLE, TIMEOUT, BROKEN, DOWN, TOO_LONG, UNSAFE, UNPAYABLE]))
        attempts.append(Attempt(there.route.name, answer.deployment, error))
    pytest.fail("it goes on for ever")


# Hedging.

HEDGED = route(hedge_after_s=2.0)


def test_a_slow_call_gets_company_on_another_deployment() -> None:
    assert hedge(plan(HEDGED), [], "a", AT_START) == TryNext("b", 0.0, 300.0, is_retry=True)
    assert hedge(plan(HEDGED), [], "b", AT_START) == TryNext("a", 0.0, 300.0, is_retry=True)


def test_company_gets_no_more_time_than_is_left() -> None:
    assert hedge(plan(HEDGED), [], "a", Now(590.0)) == TryNext("b", 0.0, 10.0, is_retry=True)


@pytest.mark.parametrize(
    ("asked", "now", "attempts"),
    [
        (plan(route()), AT_START, []),
        (plan(HEDGED), Now(0, retry_allowed=False), []),
        (plan(HEDGED), Now(0, unavailable=frozenset("b")), []),
        (plan(HEDGED), Now(599.6), []),
        (plan(HEDGED), AT_START, [failed("b")]),
        (plan(route(hedge_after_s=2.0, attempts_max=1)), AT_START, []),
        (plan(route(hedge_after_s=2.0, retry_unknown=False)), AT_START, []),
        (plan(HEDGED, ("a",)), AT_START, []),
        (plan(HEDGED), AT_START, [failed("c", UNPAYABLE)] * (MOST_CALLS - 1)),
    ],
    ids="unwanted budget unavailable no_time tried attempts unknown alone bound".split(),
)
def test_no_hedge(asked: Plan, now: Now, attempts: list[Attempt]) -> None:
    assert hedge(asked, attempts, "a", now) is None
