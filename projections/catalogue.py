"""Catalogue: which models there are, who serves them, and every price they ever had."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain.catalog import ModelListed, ModelPriced
from domain.errors import ModelNotFound
from domain.ports import Connection, Database
from domain.pricing import Price, price_at
from projections.projection import Event, Projection

_MODEL = (
    *("model", "provider", "upstream_model", "context_length", "max_output_tokens", "owned_by"),
    *("input_modalities", "listed_at", "kind", "capabilities"),
)
_PRICED = ("price_id", "valid_from", "known_since", "rates", "batch")


class CatalogueRows(msgspec.Struct):
    """The last listing of each model; every price."""

    models: dict[str, tuple[Any, ...]] = {}
    prices: list[tuple[Any, ...]] = []


def fold(events: Sequence[Event]) -> CatalogueRows:
    rows = CatalogueRows()
    for event in events:
        fact = event.fact
        if isinstance(fact, ModelListed):
            rows.models[fact.model] = (
                *(fact.model, fact.provider, fact.upstream_model, fact.context_length, fact.max_output_tokens),
                *(fact.owned_by, list(fact.input_modalities), fact.at, fact.kind, list(fact.capabilities)),
            )
        else:
            rows.prices.append((fact.price_id, fact.valid_from, fact.at, fact.rates, fact.batch, fact.model))
    return rows


async def write(connection: Connection, rows: CatalogueRows) -> None:
    for model in rows.models.values():
        await connection.execute(_LIST, *model)
    if rows.prices:
        await connection.copy("prices", (*_PRICED, "model"), rows.prices)


_LIST = f"""
    INSERT INTO models ({", ".join(_MODEL)}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (model) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _MODEL)}"""  # noqa: S608


CATALOGUE = Projection(
    name="catalogue",
    streams=("EVT",),
    facts=(ModelListed, ModelPriced),
    fold=fold,
    write=write,
    tables=("models", "prices"),
)


class CatalogueModel(msgspec.Struct, frozen=True, kw_only=True):
    """`prices` in the order in which they came to be known."""

    model: str
    provider: str
    upstream_model: str
    context_length: int
    max_output_tokens: int
    owned_by: str
    input_modalities: list[str]
    listed_at: datetime
    kind: str
    capabilities: list[str]
    prices: tuple[Price, ...] = ()

    def price_at(self, at: datetime) -> Price | None:
        return price_at(self.prices, at)


async def list_models(database: Database) -> list[CatalogueModel]:
    """By name."""
    return await _models(database, None)


async def find_model(database: Database, model: str) -> CatalogueModel:
    """Raises ModelNotFound."""
    found = await _models(database, model)
    if not found:
        raise ModelNotFound(model)
    return found[0]


async def _models(database: Database, model: str | None) -> list[CatalogueModel]:
    models = await database.fetch("SELECT * FROM models WHERE $1::text IS NULL OR model = $1 ORDER BY model", model)
    priced = await database.fetch(
        "SELECT * FROM prices WHERE $1::text IS NULL OR model = $1 ORDER BY known_since, valid_from", model
    )
    prices: dict[str, list[Price]] = {}
    for row in priced:
        prices.setdefault(row["model"], []).append(msgspec.convert({name: row[name] for name in _PRICED}, Price))
    return [CatalogueModel(**row, prices=tuple(prices.get(row["model"], ()))) for row in models]
