"""Prices: rounded once, never above the ceiling, and looked up in two times."""

from datetime import timedelta
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.money import PER_MILLION
from domain.pricing import (
    INPUT_CLASSES,
    OUTPUT_CLASSES,
    TOKEN_CLASSES,
    Price,
    Rates,
    Tier,
    Tokens,
    ceiling_nanos,
    cost_nanos,
    price_at,
)
from tests.money import AT

COUNTS = st.integers(0, 10_000_000)
RATE = st.integers(0, 10**12)
TOKENS = st.builds(Tokens, **dict.fromkeys(TOKEN_CLASSES, COUNTS))
FLAT = st.builds(
    Rates, input=RATE, output=RATE, **dict.fromkeys(set(TOKEN_CLASSES) - {"input", "output"}, st.none() | RATE)
)
TIERS = st.dictionaries(st.integers(0, 60_000_000), FLAT, max_size=3)


def tiered(flat: Rates, tiers: dict[int, Rates]) -> Rates:
    return msgspec.structs.replace(flat, above=tuple(Tier(*tier) for tier in sorted(tiers.items())))


RATES = st.builds(tiered, FLAT, TIERS)
DAYS = st.integers(0, 5)


def exact_cost(tokens: Tokens, rates: Rates) -> Fraction:
    exceeded = [tier for tier in rates.above if tokens.prompt > tier.above_prompt_tokens]
    held = max(exceeded, key=lambda tier: tier.above_prompt_tokens).rates if exceeded else rates
    costs = (Fraction(getattr(tokens, name) * held.rate_of(name), PER_MILLION) for name in TOKEN_CLASSES)
    return sum(costs, Fraction())


@given(TOKENS, RATES)
def test_a_line_is_rounded_once_and_half_up(tokens: Tokens, rates: Rates) -> None:
    error = cost_nanos(tokens, rates) - exact_cost(tokens, rates)

    assert Fraction(-1, 2) < error <= Fraction(1, 2)


@pytest.mark.parametrize(("count", "cost"), [(499_999, 0), (500_000, 1), (1_499_999, 1), (1_500_000, 2)])
def test_half_a_nano_is_rounded_up(count: int, cost: int) -> None:
    assert cost_nanos(Tokens(input=count), Rates(input=1)) == cost


def test_halves_of_several_classes_are_added_before_they_are_rounded() -> None:
    halves = Tokens(input=500_000, output=500_000, cached_input=500_000)

    assert cost_nanos(halves, Rates(input=1, output=1)) == 2


@given(TOKENS)
def test_the_classes_are_disjoint_and_sum_to_the_total(tokens: Tokens) -> None:
    assert tokens.total == sum(getattr(tokens, name) for name in TOKEN_CLASSES)
    assert tokens.prompt == sum(getattr(tokens, name) for name in INPUT_CLASSES)
    assert tokens.completion == sum(getattr(tokens, name) for name in OUTPUT_CLASSES)


@given(st.lists(COUNTS, min_size=len(INPUT_CLASSES), max_size=len(INPUT_CLASSES)), st.data(), RATES)
def test_no_split_of_tokens_within_the_bounds_costs_more_than_the_ceiling(
    inputs: list[int], data: st.DataObject, rates: Rates
) -> None:
    outputs = data.draw(st.lists(COUNTS, min_size=len(OUTPUT_CLASSES), max_size=len(OUTPUT_CLASSES)))
    spare_in, spare_out = data.draw(COUNTS), data.draw(COUNTS)
    counts = dict(zip((*INPUT_CLASSES, *sorted(OUTPUT_CLASSES)), (*inputs, *outputs), strict=True))

    ceiling = ceiling_nanos(sum(inputs) + spare_in, sum(outputs) + spare_out, rates)

    assert cost_nanos(Tokens(**counts), rates) <= ceiling


@given(FLAT, COUNTS, COUNTS)
def test_the_ceiling_is_reached_by_the_dearest_classes_alone(rates: Rates, inputs: int, outputs: int) -> None:
    dearest_in = max(INPUT_CLASSES, key=rates.rate_of)
    dearest_out = max(OUTPUT_CLASSES, key=rates.rate_of)

    dearest = cost_nanos(Tokens(**{dearest_in: inputs, dearest_out: outputs}), rates)

    assert 0 <= ceiling_nanos(inputs, outputs, rates) - dearest <= 1


LONG = Rates(input=3, output=7, above=(Tier(200_000, Rates(input=6, output=9)), Tier(500_000, Rates(input=8))))


@pytest.mark.parametrize(
    ("prompt", "input_rate", "output_rate"),
    [(0, 3, 7), (200_000, 3, 7), (200_001, 6, 9), (500_000, 6, 9), (500_001, 8, 0), (10**9, 8, 0)],
)
def test_a_longer_prompt_moves_the_whole_request_to_the_higher_tier(
    prompt: int, input_rate: int, output_rate: int
) -> None:
    held = LONG.for_prompt(prompt)
    tokens = Tokens(input=prompt, output=1_000_000)

    assert (held.input, held.output) == (input_rate, output_rate)
    assert cost_nanos(tokens, LONG) == (prompt * input_rate + 1_000_000 * output_rate + 500_000) // 1_000_000


@pytest.mark.parametrize("name", [name for name in INPUT_CLASSES if name != "input"])
def test_the_tier_follows_the_whole_prompt_whatever_class_its_tokens_are_of(name: str) -> None:
    filled = Tokens(**{"input": 100_000, name: 100_001})

    assert cost_nanos(filled, LONG) == (200_001 * 6 + 500_000) // 1_000_000


def test_tokens_of_the_answer_move_no_tier() -> None:
    assert cost_nanos(Tokens(input=200_000, output=10**9), LONG) == (200_000 * 3 + 10**9 * 7 + 500_000) // 1_000_000


def test_only_the_tiers_that_a_prompt_can_reach_count_for_the_ceiling() -> None:
    assert ceiling_nanos(200_000, 1_000_000, LONG) == -(-(200_000 * 3 + 7_000_000) // 1_000_000)
    assert ceiling_nanos(200_001, 1_000_000, LONG) == -(-(200_001 * 6 + 9_000_000) // 1_000_000)


@pytest.mark.parametrize("name", TOKEN_CLASSES)
def test_a_class_without_a_rate_costs_what_its_direction_costs(name: str) -> None:
    plain = Rates(input=3, output=7)

    assert plain.rate_of(name) == (7 if name in OUTPUT_CLASSES else 3)
    assert msgspec.structs.replace(plain, **{name: 0}).rate_of(name) == 0


def price(valid_day: int, known_day: int) -> Price:
    return Price(
        f"{valid_day}/{known_day}", AT + timedelta(days=valid_day), AT + timedelta(days=known_day), Rates(input=1)
    )


def test_there_is_no_price_before_the_first() -> None:
    assert price_at((price(1, 0),), AT) is None
    assert price_at((), AT) is None


def test_a_price_holds_from_the_very_instant_it_is_valid() -> None:
    first, second = price(0, 0), price(1, 0)

    assert price_at((first, second), second.valid_from) == second
    assert price_at((first, second), second.valid_from - timedelta(microseconds=1)) == first


def test_of_two_prices_for_the_same_time_the_one_known_last_holds() -> None:
    wrong, corrected, late = price(1, 0), price(1, 3), price(0, 4)

    assert price_at((corrected, wrong, late), AT + timedelta(days=2)) == corrected


def test_a_price_announced_for_later_changes_nothing_today() -> None:
    today, announced = price(0, 0), price(9, 1)

    assert price_at((today, announced), AT + timedelta(days=8)) == today


@given(st.lists(st.tuples(DAYS, DAYS)), DAYS)
def test_the_price_in_force_depends_on_no_order_of_telling(told: list[tuple[int, int]], day: int) -> None:
    prices = tuple(price(valid, known) for valid, known in told)
    at = AT + timedelta(days=day)
    in_force = [pair for pair in told if pair[0] <= day]

    found = price_at(prices, at)

    assert found == price_at(prices[::-1], at)
    assert (found and found.price_id) == (f"{max(in_force)[0]}/{max(in_force)[1]}" if in_force else None)
