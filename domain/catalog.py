"""Models: who serves them, what they can hold, and what they cost from when. One aggregate per model."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import msgspec

from domain.aggregate import Address, Aggregate
from domain.errors import InvalidInput
from domain.ids import SYSTEM_ACCOUNT
from domain.pricing import TOKEN_CLASSES, Price, Rates, price_at

Kind = Literal["chat", "embedding"]
Capability = Literal[
    "streaming",
    "tools",
    "structured_output",
    "reasoning",
    "sampling",
    "vision",
    "audio_input",
    "prompt_caching",
    "batch",
    "dimensions",
]
"""`sampling`: takes temperature and top_p. `dimensions`: vectors of a length that is asked for. `batch`: its provider
has a price for work that may wait."""

_BEGINNING, _END = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class CatalogFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    model: str
    at: datetime


class ModelListed(CatalogFact, frozen=True, kw_only=True, omit_defaults=True, tag="catalog.model_listed.v1"):
    """`context_length` and `max_output_tokens` are in tokens; an embedding has no output. Listing again replaces what
    was said before. Without `capabilities` nothing is known of them."""

    provider: str
    upstream_model: str
    context_length: int
    max_output_tokens: int
    owned_by: str
    input_modalities: tuple[str, ...] = ("text",)
    kind: Kind = "chat"
    capabilities: tuple[str, ...] = ()


class ModelPriced(CatalogFact, frozen=True, kw_only=True, omit_defaults=True, tag="catalog.model_priced.v1"):
    """A price is appended, never changed. It was known since `at` and holds from `valid_from`."""

    price_id: str
    valid_from: datetime
    rates: Rates
    batch: Rates | None = None


CatalogEvent: TypeAlias = ModelListed | ModelPriced


class Model(msgspec.Struct, frozen=True):
    model: str = ""
    provider: str = ""
    upstream_model: str = ""
    context_length: int = 0
    max_output_tokens: int = 0
    owned_by: str = ""
    input_modalities: tuple[str, ...] = ("text",)
    listed_at: datetime | None = None
    prices: tuple[Price, ...] = ()
    kind: Kind = "chat"
    capabilities: tuple[str, ...] = ()

    def price_at(self, at: datetime) -> Price | None:
        return price_at(self.prices, at)


def steady_prices(models: Iterable[Model], at: datetime) -> tuple[datetime, datetime]:
    """From when until when, around `at`, all of them cost what they cost then: the second is no more part of it."""
    starts = [price.valid_from for model in models for price in model.prices]
    since = max([start for start in starts if start <= at], default=_BEGINNING)
    return since, min([start for start in starts if start > at], default=_END)


def list_model(model: Model, proposed: ModelListed) -> list[CatalogEvent]:
    answers = proposed.kind == "chat"
    if proposed.context_length <= 0 or proposed.max_output_tokens < (1 if answers else 0):
        raise InvalidInput("A model needs a context length and a largest output.", field=proposed.model)
    after = evolve(model, proposed)
    same = msgspec.structs.replace(after, listed_at=model.listed_at) == model
    return [] if same else [proposed]


def price_model(model: Model, *proposed: ModelPriced) -> list[CatalogEvent]:
    """What to record so that, from the first of them on, the model costs what they say and nothing else.

    What holds already is not recorded again. A price that is known but not among them, such as one announced for
    later, is corrected at its instant.
    """
    for price in proposed:
        _check_rates(price.model, price.rates)
        if price.batch is not None:
            _check_rates(price.model, price.batch)
    told = sorted(proposed, key=lambda price: price.valid_from)
    known = {price.valid_from for price in model.prices if told and price.valid_from > told[0].valid_from}
    facts: list[CatalogEvent] = []
    for instant in sorted(known | {price.valid_from for price in told}):
        price = _told_at(told, instant)
        current = price_at(model.prices, instant)
        if current is None or (current.rates, current.batch) != (price.rates, price.batch):
            facts.append(price)
            model = evolve(model, price)
    return facts


def _told_at(told: Sequence[ModelPriced], instant: datetime) -> ModelPriced:
    """The one in force at the instant, as a price from that instant on."""
    price = [price for price in told if price.valid_from <= instant][-1]
    if price.valid_from == instant:
        return price
    price_id = name_price(price.model, instant, price.at, price.rates, price.batch)
    return msgspec.structs.replace(price, valid_from=instant, price_id=price_id)


def _check_rates(model: str, rates: Rates) -> None:
    starts = [tier.above_prompt_tokens for tier in rates.above]
    if starts != sorted({start for start in starts if start >= 0}) or any(tier.rates.above for tier in rates.above):
        raise InvalidInput(f"{model}: tiers are told once each, the lowest first, and hold none.", field=model)
    for each in (rates, *(tier.rates for tier in rates.above)):
        if any(each.rate_of(name) < 0 for name in TOKEN_CLASSES):
            raise InvalidInput(f"{model}: a price cannot be below 0.", field=model)


def name_price(model: str, valid_from: datetime, at: datetime, rates: Rates, batch: Rates | None) -> str:
    """An id that no other price has, nor the same price told at another time."""
    digest = hashlib.blake2b(msgspec.json.encode((valid_from, at, rates, batch)), digest_size=6).hexdigest()
    return f"{model}@{valid_from:%Y-%m-%d}#{digest}"


def evolve(model: Model, event: CatalogEvent) -> Model:
    if isinstance(event, ModelPriced):
        price = Price(event.price_id, event.valid_from, event.at, event.rates, event.batch)
        return msgspec.structs.replace(model, model=event.model, prices=(*model.prices, price))
    return Model(
        model=event.model,
        provider=event.provider,
        upstream_model=event.upstream_model,
        context_length=event.context_length,
        max_output_tokens=event.max_output_tokens,
        owned_by=event.owned_by,
        input_modalities=event.input_modalities,
        listed_at=event.at,
        prices=model.prices,
        kind=event.kind,
        capabilities=event.capabilities,
    )


MODEL = Aggregate("model", Model, evolve)


def model_address(model: str) -> Address:
    return catalog_address(MODEL, model)


def catalog_address(aggregate: Aggregate[Any], name: str) -> Address:
    """Names hold characters that a subject may not: the address is a hash of the name."""
    return aggregate.at(hashlib.blake2b(name.encode(), digest_size=12).hexdigest(), owner=SYSTEM_ACCOUNT)
