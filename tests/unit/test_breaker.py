"""A deployment that fails is left alone, tried by one, and used again."""

from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.breaker import (
    LONGEST_MS,
    AskProbe,
    Breaker,
    BreakerInput,
    BreakerPolicy,
    CallsEnded,
    Phase,
    ProbeEnded,
    Reason,
    Throttle,
    after,
    decide,
    merged,
    phase_at,
    told_by,
    told_by_probe,
)
from domain.errors import AggregatorError, Unavailable
from tests.routing import BROKEN, DOWN, TIMEOUT, TOO_LONG, UNPAYABLE, UNREACHABLE, UNSAFE, every_error, refused

POLICY = BreakerPolicy(
    window_ms=10_000, minimum_calls=4, slow_ms=1_000, open_ms=5_000, longest_open_ms=60_000, probe_ms=30_000
)
START = 1_000_000
TIMES = st.integers(0, 4_000_000)
PROBES = st.sampled_from(["", "p", "q"])
INPUTS: st.SearchStrategy[BreakerInput] = st.one_of(
    st.builds(CallsEnded, *[st.integers(-3, 20)] * 3),
    st.builds(Throttle, TIMES),
    st.builds(AskProbe, st.sampled_from(["p", "q", "r"])),
    st.builds(ProbeEnded, PROBES, good=st.none() | st.booleans()),
)
COUNT = st.integers(0, 50)
STATES = st.builds(
    Breaker,
    *[COUNT] * 7,
    TIMES,
    TIMES,
    st.integers(0, 40),
    st.sampled_from(get_args(Reason)),
    PROBES,
    TIMES,
    TIMES,
)


def told(breaker: Breaker, *said: BreakerInput, at: int = START) -> Breaker:
    for one in said:
        breaker = after(breaker, one, POLICY, at)
    return breaker


FAILED = CallsEnded(1, 1)
GOOD = CallsEnded(1)
OPEN = told(Breaker(), CallsEnded(4, 4))
HALF_OPEN_AT = START + 5_000


def test_half_of_the_calls_failing_opens_once_there_are_enough_of_them() -> None:
    assert phase_at(told(Breaker(), FAILED, FAILED, FAILED), START) == "closed"
    assert phase_at(told(Breaker(), GOOD, FAILED, GOOD, FAILED), START) == "open"
    assert phase_at(told(Breaker(), GOOD, GOOD, GOOD, FAILED, GOOD, FAILED), START) == "closed"


def test_slow_calls_open_it_too() -> None:
    crawling = told(Breaker(), CallsEnded(10, 0, 8))

    assert (phase_at(crawling, START), crawling.reason) == ("open", "slow")
    assert phase_at(told(Breaker(), CallsEnded(10, 0, 7)), START) == "closed"


def test_old_calls_are_forgotten() -> None:
    some = told(Breaker(), CallsEnded(3, 3))

    assert phase_at(told(some, FAILED, at=START + 4_999), START + 4_999) == "open"
    assert phase_at(told(some, FAILED, at=START + 10_000), START + 10_000) == "closed"


def test_each_opening_in_a_row_lasts_twice_as_long_up_to_a_bound() -> None:
    breaker, now_ms, lengths = OPEN, START, list[int]()
    for number in range(6):
        lengths.append(breaker.open_until_ms - now_ms)
        now_ms = breaker.open_until_ms
        breaker = told(breaker, AskProbe(f"p{number}"), ProbeEnded(f"p{number}", good=False), at=now_ms)
    assert lengths == [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]


def test_one_good_probe_closes_and_forgets() -> None:
    probing = told(OPEN, AskProbe("p"), at=HALF_OPEN_AT)

    assert phase_at(probing, HALF_OPEN_AT) == "probing"
    assert told(probing, ProbeEnded("p", good=True), at=HALF_OPEN_AT) == Breaker(changed_ms=HALF_OPEN_AT)


def test_a_second_probe_is_refused_while_one_runs() -> None:
    probing = told(OPEN, AskProbe("p"), at=HALF_OPEN_AT)

    assert decide(probing, AskProbe("q"), POLICY, HALF_OPEN_AT) == []
    assert decide(OPEN, AskProbe("q"), POLICY, START) == []
    assert decide(Breaker(), AskProbe("q"), POLICY, START) == []


def test_a_probe_that_says_nothing_leaves_its_place_to_the_next() -> None:
    probing = told(OPEN, AskProbe("p"), ProbeEnded("p", good=None), AskProbe("q"), at=HALF_OPEN_AT)

    assert probing.probe == "q"


def test_what_was_begun_before_the_opening_decides_nothing() -> None:
    for phase_ms in (START, HALF_OPEN_AT):
        assert told(OPEN, GOOD, FAILED, ProbeEnded("other", good=True), at=phase_ms) == OPEN


def test_throttling_spares_until_its_time_and_then_needs_no_probe() -> None:
    spared = told(Breaker(), CallsEnded(3), Throttle(START + 2_000), Throttle(START + 500))

    assert phase_at(spared, START + 1_999) == "throttled"
    assert phase_at(spared, START + 2_000) == "closed"
    assert spared.calls == 3


def test_a_clock_that_is_set_back_does_not_shut_a_deployment_out() -> None:
    a_day_ahead = START + 86_400_000
    shut = told(Breaker(), CallsEnded(4, 4), at=a_day_ahead)

    assert phase_at(shut, START) == "half_open"
    assert phase_at(told(Breaker(), Throttle(a_day_ahead + 9_000), at=a_day_ahead), START) == "closed"
    assert told(told(Breaker(), CallsEnded(3, 3), at=a_day_ahead), GOOD).failed == 0


@given(STATES, INPUTS, TIMES)
def test_no_input_is_without_a_next_state(state: Breaker, said: BreakerInput, now_ms: int) -> None:
    then = after(state, said, POLICY, now_ms)

    assert phase_at(then, now_ms) in get_args(Phase)
    assert (then.opened > 0) or not then.probe or then.probe == state.probe
    assert all(getattr(then, field) >= 0 for field in Breaker.__struct_fields__ if field not in ("reason", "probe"))


@given(STATES, TIMES)
def test_whatever_it_was_in_it_recovers_when_the_provider_does(state: Breaker, now_ms: int) -> None:
    """A bounded time, one probe where it is asked for, and a good answer."""
    later_ms = now_ms + LONGEST_MS
    assume(max(state.throttled_until_ms, state.open_until_ms, state.probe_until_ms) <= later_ms)
    if phase_at(state, later_ms) == "half_open":
        state = told(state, AskProbe("mine"), ProbeEnded("mine", good=True), at=later_ms)

    assert phase_at(state, later_ms) == "closed"


@given(STATES, STATES, TIMES)
def test_a_worker_keeps_only_what_is_newer_and_still_holds(own: Breaker, shared: Breaker, now_ms: int) -> None:
    kept = merged(own, shared, now_ms)

    newer = own.changed_ms > shared.changed_ms and phase_at(own, now_ms) in ("open", "probing")
    assert kept is (own if newer else shared)


# What counts.


@pytest.mark.parametrize("error", [UNREACHABLE, TIMEOUT, BROKEN, DOWN, refused(529), refused(401), refused(429)])
def test_sickness_counts(error: AggregatorError) -> None:
    assert told_by(error, 5, POLICY, START) == [CallsEnded(1, 1, 0)]
    assert told_by_probe("p", error, 5, POLICY, START) == [ProbeEnded("p", good=False)]


@pytest.mark.parametrize(
    "error", [TOO_LONG, UNSAFE, UNPAYABLE, refused(400), refused(403), refused(404), refused(422), Unavailable("Ours.")]
)
def test_what_the_request_is_to_blame_for_does_not_count(error: AggregatorError) -> None:
    assert told_by(error, 5, POLICY, START) == []
    assert told_by_probe("p", error, 5, POLICY, START) == [ProbeEnded("p", good=None)]


def test_a_slow_answer_counts_as_slow_and_a_slow_probe_as_bad() -> None:
    assert told_by(None, 1_000, POLICY, START) == [CallsEnded(1, 0, 1)]
    assert told_by(TIMEOUT, 1_000, POLICY, START) == [CallsEnded(1, 1, 1)]
    assert told_by_probe("p", None, 1_000, POLICY, START) == [ProbeEnded("p", good=False)]
    assert told_by_probe("p", None, 10**9, BreakerPolicy(), START) == [ProbeEnded("p", good=True)]


def test_a_provider_that_names_a_time_is_alive() -> None:
    throttled = refused(429, retry_after_s=2.5)

    assert told_by(throttled, 5, POLICY, START) == [Throttle(START + 2_500)]
    assert told_by_probe("p", throttled, 5, POLICY, START) == [ProbeEnded("p", good=True), Throttle(START + 2_500)]
    assert told_by(refused(429, retry_after_s=1e9), 5, POLICY, START) == [Throttle(START + 120_000)]


def test_every_error_tells_something_that_has_a_next_state() -> None:
    for error in every_error():
        for said in (*told_by(error, 5, POLICY, START), *told_by_probe("p", error, 5, POLICY, START)):
            after(Breaker(), said, POLICY, START)


@given(STATES, INPUTS, TIMES)
def test_what_decides_nothing_leaves_the_very_same_breaker(breaker: Breaker, said: BreakerInput, now_ms: int) -> None:
    is_decided = bool(decide(breaker, said, POLICY, now_ms))

    assert (after(breaker, said, POLICY, now_ms) is not breaker) == is_decided


@given(STATES, TIMES)
def test_what_is_free_is_closed_at_any_time(breaker: Breaker, now_ms: int) -> None:
    assert not breaker.is_free or phase_at(breaker, now_ms) == "closed"
    assert breaker.is_free or breaker.opened or breaker.throttled_until_ms


# Competitors' bugs, by what went wrong.


def test_bug_a_reservation_whose_holder_died_was_never_released() -> None:
    """Here: the place of the probe."""
    lost = told(OPEN, AskProbe("p"), at=HALF_OPEN_AT)
    too_late = HALF_OPEN_AT + POLICY.probe_ms

    assert phase_at(lost, too_late - 1) == "probing"
    assert told(lost, AskProbe("q"), at=too_late).probe == "q"


def test_bug_clients_errors_shut_a_deployment_out_for_everybody() -> None:
    breaker = Breaker()
    for _ in range(1000):
        for error in (TOO_LONG, UNSAFE, refused(400), refused(403), refused(404)):
            breaker = told(breaker, *told_by(error, 5, POLICY, START))

    assert phase_at(breaker, START) == "closed"


def test_bug_one_failure_among_few_calls_shut_a_deployment_out() -> None:
    assert phase_at(told(Breaker(), FAILED), START) == "closed"
