"""What `genai-prices` says that a model costs, as our dated rates: exact, and nothing passed over silently."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal

import msgspec
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices

from domain.money import nanos_from_usd
from domain.pricing import Rates, Tier

SINCE_EVER = date(2020, 1, 1)
"""From when a price without a date holds: no vendor sold anything before."""
BATCH = {"processing": "batch"}

CLASS_OF = {
    "input_mtok": ("input",),
    "output_mtok": ("output",),
    "cache_read_mtok": ("cached_input",),
    "cache_write_mtok": ("cache_write_5m", "cache_write_1h"),
    "cache_write_5m_mtok": ("cache_write_5m",),
    "cache_write_1h_mtok": ("cache_write_1h",),
    "output_reasoning_mtok": ("reasoning",),
    "input_audio_mtok": ("audio_input",),
    "output_audio_mtok": ("audio_output",),
    "input_image_mtok": ("image_input",),
}
"""In this order: a rate for one lifetime of the cache goes before that for any."""
NOT_SOLD = frozenset(
    "web_searches_kcount social_searches_kcount storage_searches_kcount code_executions_kcount input_video_mtok".split()
)
"""Tools that providers run, and video: no request through us can have them."""
AS_CACHED_INPUT = frozenset("cache_audio_read_mtok cache_image_read_mtok cache_video_read_mtok".split())
"""Cached tokens are one class here, at the rate of cached text."""


class Unpriceable(Exception):
    """`str()` is why it has no price here."""


class DatedRates(msgspec.Struct, frozen=True):
    valid_from: date
    rates: Rates
    batch: Rates | None


def genai_providers() -> dict[str, Provider]:
    """By their ids, from the data in the installed package: nothing is fetched."""
    return {provider.id: provider for provider in get_snapshot().providers}


def dated_rates(model: ModelInfo) -> list[DatedRates]:
    """By date, without those that change nothing. Raises Unpriceable."""
    dated: list[DatedRates] = []
    for day in sorted({SINCE_EVER, *_days(model)}):
        at = datetime.combine(day, time(), tzinfo=UTC)
        rates = _rates(model.get_prices(at))
        batch = _rates(model.get_prices(at, BATCH)) if _is_batch_sold(model, at) else None
        if not dated or (dated[-1].rates, dated[-1].batch) != (rates, batch):
            dated.append(DatedRates(day, rates, batch))
    return dated


def _days(model: ModelInfo) -> Iterator[date]:
    prices = [] if isinstance(model.prices, ModelPrice) else model.prices
    batches = [variant for variant in model.price_variants or () if variant.when == BATCH]
    for each in (*prices, *batches):
        if isinstance(each.constraint, StartDateConstraint):
            yield each.constraint.start_date
        elif each.constraint is not None:
            raise Unpriceable("its price depends on the time of day")


def _is_batch_sold(model: ModelInfo, at: datetime) -> bool:
    variants = [variant for variant in model.price_variants or () if variant.when == BATCH]
    return any(variant.constraint is None or variant.constraint.active(at) for variant in variants)


def _rates(prices: ModelPrice) -> Rates:
    told: dict[str, Decimal | TieredPrices] = {key: price for key, price in vars(prices).items() if price is not None}
    strange = sorted(told.keys() - CLASS_OF.keys() - NOT_SOLD - AS_CACHED_INPUT)
    if strange:
        raise Unpriceable(f"it is sold by {strange[0]}, which is no class of tokens here")
    if "input_mtok" not in told:
        raise Unpriceable("no price is known for its input")
    base = _flat({key: price.base if isinstance(price, TieredPrices) else price for key, price in told.items()})
    tiers = (Tier(start, _flat({key: _above(price, start) for key, price in told.items()})) for start in _starts(told))
    return msgspec.structs.replace(base, above=tuple(tiers))


def _starts(told: dict[str, Decimal | TieredPrices]) -> list[int]:
    prices: Iterable[TieredPrices] = (price for price in told.values() if isinstance(price, TieredPrices))
    return sorted({tier.start for price in prices for tier in price.tiers})


def _above(price: Decimal | TieredPrices, start: int) -> Decimal:
    if not isinstance(price, TieredPrices):
        return price
    return next((tier.price for tier in reversed(price.tiers) if tier.start <= start), price.base)


def _flat(told: dict[str, Decimal]) -> Rates:
    rates: dict[str, int] = {}
    for key, classes in CLASS_OF.items():
        if key in told:
            rates |= dict.fromkeys(classes, nanos_from_usd(told[key]))
    return msgspec.convert(rates, Rates)
