"""Competitors' bugs in retrying and falling back, by what went wrong."""

import pytest

from domain.deployment import Route
from domain.errors import AggregatorError, CreditExhausted, ProviderRefused
from domain.failover import Attempt, GiveUp, Now, Plan, Step, TryNext, next_step
from tests.routing import BROKEN, DOWN, TIMEOUT, every_error, failed, refused, route

ERRORS = list(every_error())
ALONE = route("fast", "a", attempts_max=5)
EVERYTHING = route(
    fallback_models=("other",), context_fallbacks=("long",), content_fallbacks=("lenient",), attempts_max=5
)
AT_START = Now(0.0)


def plan(asked: Route = EVERYTHING, candidates: tuple[str, ...] = ("a", "b")) -> Plan:
    return Plan((asked,), candidates, started_s=0.0)


def step(attempts: list[Attempt], asked: Plan | None = None, now: Now = AT_START) -> Step:
    return next_step(asked or plan(), attempts, now, lambda: 0.5)


def test_bug_a_fallback_was_called_that_the_budget_did_not_hold() -> None:
    """The budget was checked for the requested model only."""
    attempts = [failed("a"), failed("dear", CreditExhausted(100, 5), route="other")]
    there = plan(route("fast", "a", fallback_models=("other",))).fallen_back(
        route("other", "dear", "cheap"), ("dear", "cheap")
    )

    answer = step(attempts, there, Now(0, retry_allowed=False))

    assert isinstance(answer, TryNext) and answer.deployment == "cheap"


@pytest.mark.parametrize("error", [TIMEOUT, BROKEN])
def test_bug_a_retry_after_a_cut_answer_was_charged_again(error: AggregatorError) -> None:
    cut = failed("a", error)

    assert cut.possibly_billed
    answer = step([cut], plan(ALONE, ("a",)))
    assert isinstance(answer, GiveUp) and answer.possibly_billed


def test_bug_a_client_was_told_to_repeat_what_may_have_been_billed() -> None:
    answer = step([failed("a", TIMEOUT), failed("b", DOWN)], plan(route(attempts_max=2)))

    assert isinstance(answer, GiveUp) and answer.error is DOWN and answer.possibly_billed


@pytest.mark.parametrize("error", ERRORS)
def test_bug_a_cut_stream_went_on_with_another_providers_words(error: AggregatorError) -> None:
    answer = step([failed("a", error, delivered=True)])

    assert isinstance(answer, GiveUp) and answer.why == "delivered" and answer.error is error


def test_bug_an_account_without_credit_was_asked_again_and_again() -> None:
    """A 429 is two things: come later, and never."""
    broke = refused(429, "You exceeded your current quota.", error_type="insufficient_quota", retry_after_s=1)

    assert isinstance(step([failed("a", broke)], plan(ALONE, ("a",))), GiveUp)
    assert isinstance(step([failed("a", broke)]), TryNext)


def test_bug_a_bad_request_was_sent_to_every_deployment() -> None:
    bad = refused(400, "Invalid 'messages[3]'.", error_type="invalid_request_error", code="invalid_value")

    answer = step([failed("a", bad)])

    assert isinstance(answer, GiveUp) and answer.why == "request"


def test_bug_a_rate_limit_that_speaks_of_length_went_to_a_larger_model() -> None:
    words = (
        "This request would exceed the rate limit of 20,000 input tokens per minute. Please reduce the prompt length"
    )

    assert step([failed("a", refused(429, words))], plan(route(context_fallbacks=("long",)))) == TryNext(
        "b", 0.0, 300.0, is_retry=True
    )


def test_bug_a_header_that_is_no_number_made_waiting_endless() -> None:
    for nonsense in (float("nan"), float("inf"), -3.0):
        error: ProviderRefused = refused(429, retry_after_s=nonsense)
        answer = step([failed("a", error)], plan(ALONE, ("a",)))
        assert isinstance(answer, TryNext) and 0 <= answer.after_s < 1
