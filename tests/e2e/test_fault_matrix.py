"""Whatever is wrong with the one that a strategy asks first, the client gets one answer, from the healthy one, and pays
for that; what began to be delivered is never begun again."""

import json
from collections.abc import Generator
from typing import Any

import msgspec
import pytest

from domain.request import RequestAdmitted, RequestCompleted, RequestFailed
from domain.routing import Choice
from tests.e2e.fault_matrix import (
    ATTEMPT_TIMEOUT_S,
    CASES,
    CHEAP,
    DEAR,
    HEDGED,
    Case,
    Life,
    Outcome,
    Seen,
    catalogue,
    run_all,
)
from tests.e2e.faults import (
    FAULTY_WORDS,
    HEALTHY_WORDS,
    PROMPT_TOKENS,
    SLOW_PAUSE_S,
    FaultyUpstream,
    faulty_upstream,
)
from tests.e2e.people import ended_request
from tests.e2e.running import Program, until
from tests.support import open_directory

HEALTHY_TEXT = "".join(f"healthy{number} " for number in range(HEALTHY_WORDS))
FAULTY_TEXT = "".join(f"faulty{number} " for number in range(FAULTY_WORDS))
DONE = "data: [DONE]"


@pytest.fixture(scope="module")
def upstream() -> Generator[FaultyUpstream, None, None]:
    with faulty_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def environ(upstream: FaultyUpstream) -> Generator[dict[str, str], None, None]:
    with open_directory() as directory:
        path = directory / "catalogue.toml"
        path.write_text(catalogue(upstream))
        yield {"AGG_CATALOG": str(path)}


@pytest.fixture(scope="module")
def outcome(program: Program, upstream: FaultyUpstream) -> Outcome:
    return run_all(program, upstream)


def cost_nanos(words: int, price: tuple[str, str]) -> int:
    """By hand, not by the code under test."""
    return round(1_000 * (PROMPT_TOKENS * float(price[0]) + words * float(price[1])))


def text_of(case: Case, seen: Seen) -> str:
    if not case.stream:
        return json.loads(seen.body)["choices"][0]["message"]["content"]
    chunks = [line.removeprefix("data: ") for line in seen.body.splitlines() if line.startswith("data: {")]
    choices = [choice for chunk in chunks for choice in json.loads(chunk).get("choices", ())]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def life_of(outcome: Outcome, case: Case) -> tuple[Seen, Life]:
    """Each has one admission, first; one end, last; and it asked the faulty one first."""
    seen = outcome.seen[case]
    life = outcome.lives[seen.request_id]
    admitted = life.facts[0]
    assert isinstance(admitted, RequestAdmitted)
    assert [type(fact) for fact in life.facts].count(RequestAdmitted) == 1
    assert life.facts[-1] is life.end
    assert msgspec.json.decode(admitted.choice, type=Choice).chosen == f"at-{case.route}"
    return seen, life


@pytest.mark.parametrize("case", [case for case in CASES if case.fault.kind], ids=str)
def test_the_healthy_one_answers_for_the_faulty_one(outcome: Outcome, case: Case) -> None:
    seen, life = life_of(outcome, case)

    assert (seen.status, text_of(case, seen)) == (200, HEALTHY_TEXT)
    if case.stream:
        assert seen.body.rstrip().endswith(DONE)
    else:
        assert (seen.headers["x-agg-attempts"], seen.headers["x-agg-provider"]) == ("2", "healthy")
    (attempt,) = life.attempts
    assert (attempt.number, attempt.deployment) == (1, f"at-{case.route}")
    assert (attempt.error_kind, attempt.upstream_status) == (case.fault.kind, case.fault.status)
    assert attempt.cost_nanos == 0
    end = life.end
    assert isinstance(end, RequestCompleted)
    assert (end.deployment, end.attempts, end.hedged) == (case.healthy, 2, False)
    assert (end.cost_nanos, end.evidence) == (cost_nanos(HEALTHY_WORDS, DEAR), "reported")


@pytest.mark.parametrize("case", [case for case in CASES if case.fault.name == "cut after its first byte"], ids=str)
def test_what_breaks_after_its_first_byte_ends_with_an_error_and_is_nobody_elses(outcome: Outcome, case: Case) -> None:
    seen, life = life_of(outcome, case)

    assert (seen.status, text_of(case, seen)) == (200, FAULTY_TEXT)
    assert DONE not in seen.body
    assert "error" in json.loads(seen.body.rstrip().splitlines()[-1].removeprefix("data: "))
    end = life.end
    assert isinstance(end, RequestFailed)
    assert (life.attempts, end.deployment, end.attempts, end.error_kind) == ([], f"at-{case.route}", 1, "broken")
    assert (end.evidence, end.model) == ("estimated", "cheap")
    assert 0 < end.cost_nanos < cost_nanos(HEALTHY_WORDS, DEAR)


@pytest.mark.parametrize("case", [case for case in CASES if case.fault.name == "slow stream"], ids=str)
def test_a_stream_that_has_begun_may_take_longer_than_an_attempt(outcome: Outcome, case: Case) -> None:
    seen, life = life_of(outcome, case)

    assert SLOW_PAUSE_S * FAULTY_WORDS > ATTEMPT_TIMEOUT_S
    assert (seen.status, text_of(case, seen), seen.body.rstrip().endswith(DONE)) == (200, FAULTY_TEXT, True)
    assert (life.attempts, life.end.deployment, life.end.attempts) == ([], f"at-{case.route}", 1)
    assert (life.end.cost_nanos, life.end.evidence) == (cost_nanos(FAULTY_WORDS, CHEAP), "reported")


@pytest.mark.parametrize("case", HEDGED, ids=str)
def test_a_call_that_hangs_gets_another_beside_it_and_is_closed(
    program: Program, upstream: FaultyUpstream, outcome: Outcome, case: Case
) -> None:
    seen, life = life_of(outcome, case)

    assert (seen.status, text_of(case, seen)) == (200, HEALTHY_TEXT)
    (lost,) = life.attempts
    assert (lost.deployment, lost.error_kind, lost.evidence) == (f"at-{case.route}", "hedged", "estimated")
    assert 0 < lost.cost_nanos < cost_nanos(0, CHEAP)
    end = life.end
    assert isinstance(end, RequestCompleted)
    assert (end.deployment, end.attempts, end.hedged) == ("healthy", 2, True)
    assert end.cost_nanos == cost_nanos(HEALTHY_WORDS, DEAR)
    until(lambda: seen.request_id in upstream.hung_up)
    shown = ended_request(program, seen.request_id)
    timeline: list[dict[str, Any]] = shown["timeline"]
    assert (shown["hedged"], shown["attempts"], shown["deployment"]) == (True, 2, "healthy")
    assert [step["event"] for step in timeline] == ["request.admitted", "request.attempted", "request.completed"]
    assert (timeline[1]["error_kind"], timeline[1]["evidence"]) == ("hedged", "estimated")
    assert timeline[1]["billed_nanos"] == lost.cost_nanos


def test_the_ledger_charges_what_the_answers_cost_and_nothing_for_attempts(outcome: Outcome) -> None:
    expected = sum(outcome.lives[seen.request_id].end.cost_nanos for seen in outcome.seen.values())
    asked_beside = 2 * cost_nanos(HEALTHY_WORDS, DEAR)

    assert outcome.charged_nanos == outcome.costs_nanos == expected + asked_beside


def test_no_breaker_stood_between(outcome: Outcome) -> None:
    choices = [
        msgspec.json.decode(outcome.lives[seen.request_id].facts[0].choice, type=Choice)
        for seen in outcome.seen.values()
    ]

    assert [each for choice in choices for each in choice.considered if each.skipped] == []
