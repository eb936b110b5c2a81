"""Models: who serves them, what they can hold, and what they cost from when. One aggregate per model."""

import hashlib
from datetime import datetime
from typing import TypeAlias

import msgspec

from domain.aggregate import Address, Aggregate
from domain.errors import InvalidInput
from domain.ids import SYSTEM_ACCOUNT
from domain.pricing import TOKEN_CLASSES, Price, Rates, price_at


class CatalogFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    model: str
    at: datetime


class ModelListed(CatalogFact, frozen=True, kw_only=True, tag="catalog.model_listed.v1"):
    """`context_length` and `max_output_tokens` are in tokens. Listing again replaces what was said before."""

    provider: str
    upstream_model: str
    context_length: int
    max_output_tokens: int
    owned_by: str
    input_modalities: tuple[str, ...] = ("text",)


class ModelPriced(CatalogFact, frozen=True, kw_only=True, tag="catalog.model_priced.v1"):
    """A price is appended, never changed. It was known since `at` and holds from `valid_from`."""

    price_id: str
    valid_from: datetime
    rates: Rates


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

    def price_at(self, at: datetime) -> Price | None:
        return price_at(self.prices, at)


def list_model(model: Model, proposed: ModelListed) -> list[CatalogEvent]:
    if proposed.context_length <= 0 or proposed.max_output_tokens <= 0:
        raise InvalidInput("A model needs a context length and a largest output.", field=proposed.model)
    after = evolve(model, proposed)
    same = msgspec.structs.replace(after, listed_at=model.listed_at) == model
    return [] if same else [proposed]


def price_model(model: Model, proposed: ModelPriced) -> list[CatalogEvent]:
    """A price that holds already, with the same rates from the same instant, is not recorded again."""
    if any(proposed.rates.rate_of(name) < 0 for name in TOKEN_CLASSES):
        raise InvalidInput(f"{proposed.model}: a price cannot be below 0.", field=proposed.model)
    current = price_at(model.prices, proposed.valid_from)
    if current and current.rates == proposed.rates:
        return []
    return [proposed]


def evolve(model: Model, event: CatalogEvent) -> Model:
    if isinstance(event, ModelPriced):
        price = Price(event.price_id, event.valid_from, event.at, event.rates)
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
    )


MODEL = Aggregate("model", Model, evolve)


def model_address(model: str) -> Address:
    """Model names hold characters that a subject may not: the address is a hash of the name."""
    return MODEL.at(hashlib.blake2b(model.encode(), digest_size=12).hexdigest(), owner=SYSTEM_ACCOUNT)
