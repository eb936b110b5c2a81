"""Limits as one process keeps them: exact, all or nothing, corrected at the end, forgotten in time."""

from collections import defaultdict
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Busy
from domain.ids import RequestId
from domain.limit_book import MAX_RUNNING, LimitBook
from domain.limits import (
    DAY_MS,
    MAX_RULES,
    MINUTE_MS,
    SECOND_MS,
    Demand,
    Rule,
    Unseeded,
    Verdict,
    start_of,
    window_end_ms,
    window_start_ms,
)
from tests.limits import ALL_RULES, NOW_MS, Steps, demand, rule, step_lists

DEADLINE_MS = 16 * MINUTE_MS


def admit(book: LimitBook, rules: list[Rule], asked: Demand, now_ms: int = NOW_MS, spent: int = 0) -> Verdict:
    """With what the books say whenever the book wants to know."""
    verdict = book.admit(rules, asked, now_ms)
    if isinstance(verdict, Unseeded):
        verdict = book.admit(rules, asked, now_ms, {one: (spent, start_ms) for one, start_ms in verdict.missing})
    assert isinstance(verdict, Verdict)
    return verdict


def finish(
    book: LimitBook, rules: list[Rule], ident: str, tokens: int = 0, nanos: int = 0, now_ms: int = NOW_MS
) -> None:
    book.finish(rules, RequestId(ident), tokens, nanos, now_ms)


def remaining(book: LimitBook, one: Rule, now_ms: int = NOW_MS) -> int:
    """Asked by a request that wants nothing and has ended, so that it holds nothing."""
    finish(book, [], "asks", now_ms=now_ms)
    return admit(book, [one], demand("asks"), now_ms).states[0].remaining


@given(
    limit=st.integers(1, 12),
    steps=st.lists(st.tuples(st.integers(0, 20 * SECOND_MS), st.integers(0, 9), st.integers(0, 9)), max_size=80),
)
def test_no_minute_ever_sees_more_than_the_limit(limit: int, steps: list[tuple[int, int, int]]) -> None:
    """Whatever is admitted, and however much less than reserved it turns out to be."""
    book, one, now_ms = LimitBook(), rule("tokens", "minute", limit), NOW_MS
    used: list[tuple[int, int]] = []
    for index, (after_ms, tokens, less) in enumerate(steps):
        now_ms += after_ms
        if admit(book, [one], demand(f"r{index}", tokens), now_ms).allowed:
            actual = max(0, tokens - less)
            finish(book, [one], f"r{index}", tokens=actual, now_ms=now_ms)
            used.append((now_ms, actual))
    for until_ms, _ in used:
        assert sum(tokens for at_ms, tokens in used if until_ms - MINUTE_MS <= at_ms <= until_ms) <= limit


@settings(max_examples=200)
@given(steps=step_lists())
def test_what_is_admitted_fits_every_rule_and_what_is_refused_leaves_no_trace(steps: Steps) -> None:
    book, now_ms = LimitBook(), NOW_MS
    for step in steps:
        now_ms += step.after_ms
        ident = RequestId(str(step.request))
        if step.operation == "finish":
            book.finish(step.rules, ident, step.tokens, step.nanos, now_ms)
        elif step.operation == "touch":
            book.touch(step.rules, ident, now_ms)
        else:
            rules = list(step.rules)
            asked = demand(ident, step.tokens, step.nanos)
            verdict = admit(book, rules, asked, now_ms, step.spent)
            if verdict.allowed:
                assert verdict.binding is None
                assert admit(book, rules, asked, now_ms).states == verdict.states
            elif verdict.binding:
                assert admit(book, rules, asked, now_ms) == verdict
            assert all(0 <= state.remaining <= state.rule.limit for state in verdict.states)


@given(steps=step_lists(), after_ms=st.integers(0, 40 * DAY_MS))
def test_of_ends_that_never_come_nothing_is_left_after_the_deadline(steps: Steps, after_ms: int) -> None:
    """Requests aside: they count when they come."""
    book, now_ms = LimitBook(), NOW_MS
    rules = [one for one in ALL_RULES if one.kind != "requests"]
    for index, step in enumerate(steps):
        now_ms += step.after_ms
        admit(book, rules, demand(f"r{index}", step.tokens, step.nanos), now_ms)
    verdict = admit(book, rules, demand("last"), now_ms + DEADLINE_MS + after_ms)
    assert verdict.allowed
    assert [state.remaining for state in verdict.states] == [
        state.rule.limit - (state.rule.kind == "concurrent") for state in verdict.states
    ]


@given(amounts=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)), max_size=30))
def test_use_is_the_sum_of_what_was_really_used(amounts: list[tuple[int, int]]) -> None:
    book, one = LimitBook(), rule("spend", "month", 10_000)
    for index, (bound, _) in enumerate(amounts):
        admit(book, [one], demand(f"r{index}", nanos=bound), spent=7)
    for index, (_, actual) in enumerate(amounts):
        finish(book, [one], f"r{index}", nanos=actual)
        finish(book, [one], f"r{index}", nanos=99)
    seeded = 7 if amounts else 0
    assert remaining(book, one) == 10_000 - seeded - sum(actual for _, actual in amounts)


def test_all_rules_hold_or_none_is_taken() -> None:
    book = LimitBook()
    wide, narrow = rule("requests", "minute", 10), rule("requests", "minute", 1, scope="account")
    assert admit(book, [wide, narrow], demand("a")).allowed

    verdict = admit(book, [wide, narrow], demand("b"))

    assert (verdict.allowed, verdict.binding) == (False, narrow)
    assert [state.remaining for state in verdict.states] == [9, 0]


def test_the_rule_that_refuses_for_longest_is_the_one_that_is_named() -> None:
    book = LimitBook()
    rules = [rule("requests", "minute", 1), rule("requests", "day", 1), rule("concurrent", "none", 1)]
    admit(book, rules, demand("a"))

    verdict = admit(book, rules, demand("b"), NOW_MS + SECOND_MS)

    assert verdict.binding == rules[0]  # the day ends in 9 s, the minute later
    assert verdict.retry_after_s == 60
    assert [state.reset_s for state in verdict.states] == [60, 9, 0]


def test_waiting_as_long_as_told_is_enough() -> None:
    book, one = LimitBook(), rule("tokens", "minute", 10)
    for index in range(5):
        admit(book, [one], demand(f"r{index}", 2), NOW_MS + index * 7 * SECOND_MS)
    refused = admit(book, [one], demand("more", 5), NOW_MS + 30 * SECOND_MS)
    assert refused.retry_after_s is not None

    after_ms = NOW_MS + (30 + refused.retry_after_s) * SECOND_MS
    assert not admit(book, [one], demand("more", 5), after_ms - 2 * SECOND_MS).allowed
    assert admit(book, [one], demand("more", 5), after_ms).allowed


@pytest.mark.parametrize("window", ["minute", "day"])
def test_no_waiting_helps_a_request_that_is_larger_than_the_limit(window: str) -> None:
    verdict = admit(LimitBook(), [rule("tokens", "day" if window == "day" else "minute", 10)], demand("a", 11))

    assert (verdict.allowed, verdict.retry_after_s) == (False, None)


def test_when_only_running_requests_are_in_the_way_a_moment_is_told() -> None:
    book, one = LimitBook(), rule("spend", "month", 10)
    admit(book, [one], demand("a", nanos=10))

    assert admit(book, [one], demand("b", nanos=10)).retry_after_s == 1


def test_a_request_counts_in_the_window_in_which_it_was_admitted() -> None:
    book, one = LimitBook(), rule("spend", "day", 10)
    admit(book, [one], demand("a", nanos=10))

    finish(book, [one], "a", nanos=8, now_ms=NOW_MS + 20 * SECOND_MS)

    assert remaining(book, one, NOW_MS + 20 * SECOND_MS) == 10


def test_a_touched_request_keeps_what_it_holds() -> None:
    book, rules = LimitBook(), [rule("concurrent", "none", 1), rule("tokens", "month", 10, scope="plan")]
    now_ms = NOW_MS + MINUTE_MS
    admit(book, rules, demand("a", 10), now_ms)
    for _ in range(5):
        now_ms += 14 * MINUTE_MS
        book.touch(rules, RequestId("a"), now_ms)

    assert [remaining(book, one, now_ms) for one in rules[1:]] == [0]
    assert not admit(book, rules[:1], demand("b"), now_ms).allowed
    finish(book, rules, "a", tokens=3, now_ms=now_ms)
    assert [remaining(book, one, now_ms) for one in rules] == [1, 7]


def test_an_end_after_the_deadline_still_counts() -> None:
    book, one, now_ms = LimitBook(), rule("tokens", "month", 10), NOW_MS + MINUTE_MS
    admit(book, [one], demand("a", 9), now_ms)
    assert remaining(book, one, now_ms + DEADLINE_MS) == 10

    finish(book, [one], "a", tokens=4, now_ms=now_ms + DEADLINE_MS)

    assert remaining(book, one, now_ms + DEADLINE_MS) == 6


def test_spend_that_is_unknown_is_asked_for_and_never_zero() -> None:
    book, one = LimitBook(), rule("spend", "month", 10)

    assert book.admit([one], demand("a", nanos=1), NOW_MS) == Unseeded(((one, window_start_ms("month", NOW_MS)),))
    assert not admit(book, [one], demand("a", nanos=1), spent=10).allowed


def test_the_second_of_two_seeders_changes_nothing() -> None:
    book, one = LimitBook(), rule("spend", "month", 10)
    start_ms = window_start_ms("month", NOW_MS)
    for ident in ("a", "b"):
        verdict = book.admit([one], demand(ident, nanos=1), NOW_MS, {one: (4, start_ms)})

    assert isinstance(verdict, Verdict)
    assert verdict.states[0].remaining == 10 - 4 - 2


def test_a_seed_of_a_window_that_has_passed_is_not_taken() -> None:
    book, one = LimitBook(), rule("spend", "day", 10)
    yesterday = {one: (3, window_start_ms("day", NOW_MS))}

    assert isinstance(book.admit([one], demand("a"), NOW_MS + 10 * SECOND_MS, yesterday), Unseeded)


def test_spend_is_asked_for_again_after_a_reservation_was_given_up() -> None:
    book, one = LimitBook(), rule("spend", "month", 100)
    now_ms = NOW_MS + MINUTE_MS
    admit(book, [one], demand("dead", nanos=50), now_ms, spent=10)

    verdict = admit(book, [one], demand("b", nanos=1), now_ms + DEADLINE_MS, spent=35)

    assert verdict.states[0].remaining == 100 - 35 - 1


def test_a_fallback_takes_only_what_the_request_does_not_hold_yet() -> None:
    book = LimitBook()
    account, first, second = rule("requests", "day", 9), *(rule("requests", "day", 9, name, "model") for name in "ab")
    admit(book, [account, first], demand("r"))

    verdict = admit(book, [account, second], demand("r"))

    assert [state.remaining for state in verdict.states] == [8, 8]


def test_a_request_that_has_ended_is_not_admitted_again() -> None:
    book, one = LimitBook(), rule("requests", "day", 10)
    admit(book, [one], demand("a"))
    finish(book, [one], "a")

    verdict = admit(book, [one], demand("a"))

    assert (verdict.allowed, verdict.binding, verdict.retry_after_s) == (False, None, None)
    assert verdict.states[0].remaining == 9


def test_a_limit_that_changes_keeps_its_counter() -> None:
    book = LimitBook()
    admit(book, [rule("tokens", "day", 10)], demand("a", 8))

    assert remaining(book, rule("tokens", "day", 20)) == 12
    assert remaining(book, rule("tokens", "day", 5)) == 0


def test_a_rule_that_came_after_the_admission_is_not_credited_at_the_end() -> None:
    book, old, new = LimitBook(), rule("tokens", "day", 10), rule("tokens", "day", 10, scope="account")
    admit(book, [old], demand("a", 8))

    finish(book, [old, new], "a", tokens=1)

    assert [remaining(book, one) for one in (old, new)] == [9, 10]


def test_the_book_is_full_at_some_point_and_says_so() -> None:
    book, one = LimitBook(), rule("requests", "day", MAX_RUNNING * 2)
    for index in range(MAX_RUNNING):
        book.admit([one], demand(f"r{index}"), NOW_MS)

    with pytest.raises(Busy):
        book.admit([one], demand("more"), NOW_MS)
    assert admit(book, [one], demand("later"), NOW_MS + DEADLINE_MS).allowed


@given(at_ms=st.integers(0, 4_102_444_800_000))
def test_calendar_windows_are_those_of_the_calendar(at_ms: int) -> None:
    at, ends = datetime.fromtimestamp(at_ms / 1000, UTC), defaultdict[str, datetime](lambda: start_of(0))
    for window in ("day", "month"):
        start_ms = window_start_ms(window, at_ms)
        ends[window] = start_of(window_end_ms(window, start_ms))
        assert start_ms <= at_ms < window_end_ms(window, start_ms)
    assert start_of(window_start_ms("day", at_ms)).date() == at.date()
    assert (start_of(window_start_ms("month", at_ms)).day, ends["month"].day) == (1, 1)
    assert (ends["month"].year * 12 + ends["month"].month) - (at.year * 12 + at.month) == 1


@pytest.mark.parametrize(
    ("kind", "window", "limit"),
    [("concurrent", "day", 1), ("tokens", "none", 1), ("spend", "minute", 1), ("tokens", "day", -1)],
)
def test_a_rule_that_makes_no_sense_is_refused(kind: str, window: str, limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        rule(kind, window, limit)  # pyright: ignore[reportArgumentType]


def test_rules_that_share_a_counter_or_are_too_many_are_refused() -> None:
    twice = [rule("tokens", "day", 10), rule("tokens", "day", 20)]
    many = [rule("tokens", "day", 10, subject=str(index)) for index in range(MAX_RULES + 1)]

    for rules in (twice, many):
        with pytest.raises(ValueError, match="rules"):
            LimitBook().admit(rules, demand("a"), NOW_MS)
