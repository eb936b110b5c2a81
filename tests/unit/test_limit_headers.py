"""What callers read about their limits, in the forms that their clients know."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.limit_headers import go_duration, headers_of
from domain.limits import MAX_AMOUNT, Rule, State, Verdict
from tests.limits import ALL_RULES, rule

PER_MINUTE = rule("requests", "minute", 60)
PER_DAY = rule("requests", "day", 1_000, scope="account")
TOKENS = rule("tokens", "minute", 40_000, scope="plan")
SLOTS = rule("concurrent", "none", 5, scope="model")
SPEND = rule("spend", "month", MAX_AMOUNT)
ITEM = r'"[a-z-]+"(;[a-z]+=(\d{1,15}|"[a-z-]+"))+'
LIST = re.compile(f"{ITEM}(, {ITEM})*")


def allowed(*states: State, degraded: bool = False) -> dict[str, str]:
    return dict(headers_of(Verdict(allowed=True, states=states, degraded=degraded)))


def refused(retry_after_s: int | None) -> dict[str, str]:
    states = (State(PER_MINUTE, 0, 30),)
    return dict(headers_of(Verdict(allowed=False, states=states, binding=PER_MINUTE, retry_after_s=retry_after_s)))


def test_each_rule_is_a_policy_with_its_quota_unit_and_window() -> None:
    headers = allowed(State(PER_MINUTE, 59, 61), State(TOKENS, 39_000, 61), State(SLOTS, 4, 0))

    assert headers["ratelimit-policy"] == (
        '"key-requests-minute";q=60;w=60, "plan-tokens-minute";q=40000;qu="tokens";w=60, '
        '"model-concurrent";q=5;qu="concurrent-requests"'
    )
    assert headers["ratelimit"] == (
        '"key-requests-minute";r=59;t=61, "plan-tokens-minute";r=39000;t=61, "model-concurrent";r=4'
    )


def test_openai_clients_see_the_tightest_rule_of_each_kind() -> None:
    headers = allowed(State(PER_MINUTE, 59, 61), State(PER_DAY, 12, 7_200), State(TOKENS, 39_000, 360))

    assert {name: value for name, value in headers.items() if name.startswith("x-ratelimit")} == {
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": "12",
        "x-ratelimit-reset-requests": "2h0m0s",
        "x-ratelimit-limit-tokens": "40000",
        "x-ratelimit-remaining-tokens": "39000",
        "x-ratelimit-reset-tokens": "6m0s",
    }


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0s"), (12, "12s"), (360, "6m0s"), (3_600, "1h0m0s"), (86_400, "24h0m0s")]
)
def test_durations_are_written_as_go_does(seconds: int, told: str) -> None:
    assert go_duration(seconds) == told


@pytest.mark.parametrize(("wait_s", "told"), [(0, "1"), (30, "30"), (120, "120"), (86_400, "120")])
def test_a_refusal_says_when_to_come_again_within_two_minutes(wait_s: int, told: str) -> None:
    assert refused(wait_s)["retry-after"] == told


def test_nobody_is_told_to_wait_where_waiting_does_not_help() -> None:
    assert "retry-after" not in refused(None)
    assert "retry-after" not in allowed(State(PER_MINUTE, 59, 61))


def test_a_degraded_decision_says_so() -> None:
    assert allowed(degraded=True) == {"x-agg-degraded": "limits"}


def test_without_rules_there_is_nothing_to_say() -> None:
    assert headers_of(Verdict(allowed=True)) == []


@given(st.lists(st.sampled_from([*ALL_RULES, SPEND]), min_size=1, unique=True), st.integers(0, MAX_AMOUNT))
def test_both_fields_are_lists_of_structured_items(rules: list[Rule], remaining: int) -> None:
    headers = allowed(*(State(one, min(remaining, one.limit), 7) for one in rules))

    assert LIST.fullmatch(headers["ratelimit-policy"])
    assert LIST.fullmatch(headers["ratelimit"])
