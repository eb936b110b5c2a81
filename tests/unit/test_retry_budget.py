"""Retries are a share of live traffic, in every window."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.retry_budget import RetryBudget, RetryPolicy

POLICIES = st.builds(RetryPolicy, share=st.floats(0, 1), minimum_per_s=st.floats(0, 10), burst=st.floats(0, 30))
STEPS = st.lists(st.tuples(st.sampled_from(["request", "retry"]), st.floats(-1, 3)), max_size=80)


@given(POLICIES, STEPS)
def test_retries_in_any_window_are_within_the_share_the_minimum_and_the_burst(
    policy: RetryPolicy, steps: list[tuple[str, float]]
) -> None:
    budget, now_s = RetryBudget.full(policy, 0), 0.0
    log: list[tuple[float, int, int]] = []
    for what, gap_s in steps:
        now_s += gap_s
        if what == "request":
            budget = budget.after_request(now_s)
        elif not budget.allows(now_s):
            continue
        else:
            budget = budget.after_retry(now_s)
        log.append((now_s, int(what == "request"), int(what == "retry")))

    latest = list(accumulate((at_s for at_s, _, _ in log), max, initial=0.0))[1:]
    for start in range(len(log)):
        for end in range(start, len(log)):
            requests = sum(entry[1] for entry in log[start : end + 1])
            retries = sum(entry[2] for entry in log[start : end + 1])
            seconds = latest[end] - (latest[start - 1] if start else 0)
            allowed = policy.share * requests + policy.minimum_per_s * seconds + policy.burst
            assert retries <= allowed + 1e-6


def test_a_dead_provider_under_load_gets_a_fifth_more_calls_and_no_storm() -> None:
    policy = RetryPolicy(share=0.2, minimum_per_s=0, burst=10)
    budget, retries = RetryBudget.full(policy, 0), 0
    for number in range(1000):
        now_s = number / 100
        budget = budget.after_request(now_s)
        for _ in range(2):
            if budget.allows(now_s):
                budget, retries = budget.after_retry(now_s), retries + 1

    assert 200 <= retries <= 210


def test_a_quiet_gateway_may_retry() -> None:
    budget = RetryBudget.full(RetryPolicy(share=0.2, minimum_per_s=1, burst=1), 0).after_retry(0)

    assert not budget.allows(0.5)
    assert budget.allows(1)


def test_taking_without_asking_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        RetryBudget.full(RetryPolicy(burst=0), 0).after_retry(0)
