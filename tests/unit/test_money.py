"""USD on paper and nano-USD inside are the same amount, to the last digit."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.money import NANOS_PER_USD, nanos_from_usd, usd

AMOUNTS = [
    (0, "0.00"),
    (1, "0.000000001"),
    (10_000_000, "0.01"),
    (1_250_000, "0.00125"),
    (12_500_000_000, "12.50"),
    (-1, "-0.000000001"),
    (-1_500_000_000, "-1.50"),
    (10**30, "1000000000000000000000.00"),
]


@pytest.mark.parametrize(("nanos", "text"), AMOUNTS)
def test_an_amount_is_written_exactly_with_at_least_cents(nanos: int, text: str) -> None:
    assert usd(nanos) == text
    assert nanos_from_usd(text) == nanos


@given(st.integers())
def test_writing_and_reading_an_amount_changes_nothing(nanos: int) -> None:
    assert nanos_from_usd(usd(nanos)) == nanos
    assert nanos_from_usd(Decimal(usd(nanos))) == nanos


@given(st.integers(), st.integers(1, 9), st.integers(10, 40))
def test_an_amount_finer_than_one_nano_is_refused_however_many_digits_it_has(
    nanos: int, digit: int, places: int
) -> None:
    finer = f"{nanos}.{'0' * (places - 1)}{digit}"

    with pytest.raises(ValueError, match="finer"):
        nanos_from_usd(finer)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e99999999"])
def test_what_is_no_amount_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="USD"):
        nanos_from_usd(text)


def test_one_usd_is_a_thousand_million_nanos() -> None:
    assert nanos_from_usd("1") == NANOS_PER_USD == 1_000_000_000
