"""From a price of genai-prices to ours: exactly, with its history, or not at all."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)
from genai_prices.types import Tier as GenaiTier

from adapters.catalog.genai import BATCH, SINCE_EVER, DatedRates, Unpriceable, dated_rates, genai_providers
from domain.pricing import Rates, Tier, Tokens, cost_nanos
from tests.genai_prices import genai_nanos

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def model(prices: ModelPrice | list[ConditionalPrice], **more: Any) -> ModelInfo:
    return ModelInfo(id="m", match=ClauseEquals(equals="m"), prices=prices, context_window=1_000, **more)


def test_prices_are_taken_exactly_or_not_at_all() -> None:
    finest = model(ModelPrice(input_mtok=Decimal("0.000000001"), output_mtok=Decimal("1e3")))

    assert dated_rates(finest) == [DatedRates(SINCE_EVER, Rates(input=1, output=10**12), None)]
    with pytest.raises(ValueError, match="finer than one nano-USD"):
        dated_rates(model(ModelPrice(input_mtok=Decimal("0.0000000001"))))


def test_each_class_may_have_tiers_of_its_own() -> None:
    tiered = TieredPrices(base=Decimal(1), tiers=[GenaiTier(20, Decimal(3)), GenaiTier(10, Decimal(2))])
    prices = ModelPrice(
        input_mtok=tiered,
        output_mtok=TieredPrices(base=Decimal(4), tiers=[GenaiTier(15, Decimal(5))]),
        cache_read_mtok=Decimal("0.5"),
    )
    (dated,) = dated_rates(model(prices))
    provider = genai_providers()["openai"]

    def usd(amount: str) -> int:
        return int(Decimal(amount) * 10**9)

    half = usd("0.5")
    assert dated.rates == Rates(
        input=usd("1"),
        output=usd("4"),
        cached_input=half,
        above=(
            Tier(10, Rates(input=usd("2"), output=usd("4"), cached_input=half)),
            Tier(15, Rates(input=usd("2"), output=usd("5"), cached_input=half)),
            Tier(20, Rates(input=usd("3"), output=usd("5"), cached_input=half)),
        ),
    )
    for prompt in range(25):
        tokens = Tokens(input=prompt, output=7)
        assert cost_nanos(tokens, dated.rates) == genai_nanos(model(prices), provider, tokens, NOW, {})


def test_dates_of_prices_and_of_batches_are_one_history() -> None:
    old, new = ModelPrice(input_mtok=Decimal(2)), ModelPrice(input_mtok=Decimal(1))
    dated = [ConditionalPrice(prices=old), ConditionalPrice(StartDateConstraint(date(2026, 1, 1)), prices=new)]
    batch = PriceVariant(BATCH, ModelPrice(input_mtok=Decimal("0.5")), StartDateConstraint(date(2026, 2, 1)))

    assert dated_rates(model(dated, price_variants=[batch])) == [
        DatedRates(SINCE_EVER, Rates(input=2 * 10**9), None),
        DatedRates(date(2026, 1, 1), Rates(input=10**9), None),
        DatedRates(date(2026, 2, 1), Rates(input=10**9), Rates(input=10**9 // 2)),
    ]


def test_one_lifetime_of_the_cache_may_cost_more_than_the_other() -> None:
    prices = ModelPrice(input_mtok=Decimal(1), cache_write_mtok=Decimal(2), cache_write_1h_mtok=Decimal(3))

    (dated,) = dated_rates(model(prices))

    assert (dated.rates.cache_write_5m, dated.rates.cache_write_1h) == (2 * 10**9, 3 * 10**9)


def test_what_cannot_be_said_in_our_prices_is_left_out_with_the_reason() -> None:
    at_night = TimeOfDateConstraint(time(1), time(2))
    one = ModelPrice(input_mtok=Decimal(1))

    for prices, why in (
        ([ConditionalPrice(prices=one), ConditionalPrice(at_night, prices=one)], "time of day"),
        (ModelPrice(input_mtok=Decimal(1), output_image_mtok=Decimal(1)), "output_image_mtok"),
        (ModelPrice(requests_kcount=Decimal(1), input_mtok=Decimal(1)), "requests_kcount"),
        (ModelPrice(output_mtok=Decimal(1)), "no price"),
        (ModelPrice(), "no price"),
    ):
        with pytest.raises(Unpriceable, match=why):
            dated_rates(model(prices))
