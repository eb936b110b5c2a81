"""Averages that forget."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.latency import HALF_LIFE_S, LONGEST_MS, DecayedAverage, Latency

TIMES = st.floats(-1e6, 1e9)
VALUES = st.floats(0, LONGEST_MS)


@given(st.lists(st.tuples(VALUES, st.floats(0, 500)), min_size=1, max_size=30))
def test_the_average_is_that_of_all_calls_each_weighted_by_its_age(calls: list[tuple[float, float]]) -> None:
    average, now_s, seen = DecayedAverage(), 0.0, list[tuple[float, float]]()
    for value, gap_s in calls:
        now_s += gap_s
        average = average.observe(value, now_s)
        seen.append((value, now_s))

    weights = [0.5 ** ((now_s - at_s) / HALF_LIFE_S) for _, at_s in seen]
    expected = sum(value * weight for (value, _), weight in zip(seen, weights, strict=True)) / sum(weights)
    assert average.mean(now_s) == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(), TIMES), max_size=30), TIMES)
def test_whatever_is_observed_the_average_stays_within_bounds(calls: list[tuple[float, float]], now_s: float) -> None:
    average = DecayedAverage()
    for value, at_s in calls:
        average = average.observe(value, at_s)

    mean = average.mean(now_s)
    assert mean is None or 0 <= mean <= LONGEST_MS * (1 + 1e-9)
    assert math.isfinite(average.total) and math.isfinite(average.weight)


def test_what_was_slow_long_ago_is_unknown_and_so_gets_another_chance() -> None:
    average = DecayedAverage().observe(9_000, 0)

    assert average.mean(HALF_LIFE_S) == 9_000
    assert average.mean(HALF_LIFE_S * 10) is None


def test_calls_at_the_same_instant_all_count() -> None:
    assert DecayedAverage().observe(100, 5).observe(300, 5).mean(5) == 200


def test_a_stream_is_judged_by_its_first_token_and_a_whole_answer_by_its_end() -> None:
    latency = Latency().observe(0, duration_ms=5_000, first_token_ms=200).observe(0, duration_ms=3_000)

    assert latency.expected_ms(0, stream=True) == 200
    assert latency.expected_ms(0, stream=False) == 4_000
    assert Latency().observe(0, duration_ms=700).expected_ms(0, stream=True) == 700
    assert Latency().expected_ms(0, stream=True) is None
