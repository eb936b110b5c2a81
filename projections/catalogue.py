"""Catalogue: which models there are, who serves them, every price they ever had, and the deployments and routes that
there are or were. Requests name them and `spending` reads `routes`; the API lists what the log says latest instead."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain.catalog import ModelListed, ModelPriced
from domain.declared_deployment import DeploymentRemoved, DeploymentSet
from domain.declared_route import RouteRemoved, RouteSet
from domain.ports import Connection
from projections.projection import Event, Projection

_MODEL = (
    *("model", "provider", "upstream_model", "context_length", "max_output_tokens", "owned_by"),
    *("input_modalities", "listed_at", "kind", "capabilities"),
)
_PRICE = ("price_id", "valid_from", "known_since", "rates", "batch", "model")
_DEPLOYMENT = ("name", "model", "provider", "upstream_model", "region", "weight", "priority", "set_at", "removed_at")
_ROUTE = ("name", "deployments", "strategy", "fallbacks", "cache", "set_at", "removed_at")

Row = tuple[Any, ...]


class CatalogueRows(msgspec.Struct):
    """The last listing of each model; every price; the last word on each deployment and route. Of those in `gone` no
    more is told than when they were removed."""

    models: dict[str, Row] = {}
    prices: list[Row] = []
    deployments: dict[str, Row] = {}
    routes: dict[str, Row] = {}
    gone_deployments: dict[str, datetime] = {}
    gone_routes: dict[str, datetime] = {}


def fold(events: Sequence[Event]) -> CatalogueRows:
    rows = CatalogueRows()
    for event in events:
        fact = event.fact
        if isinstance(fact, ModelListed):
            rows.models[fact.model] = (
                *(fact.model, fact.provider, fact.upstream_model, fact.context_length, fact.max_output_tokens),
                *(fact.owned_by, list(fact.input_modalities), fact.at, fact.kind, list(fact.capabilities)),
            )
        elif isinstance(fact, ModelPriced):
            rows.prices.append((fact.price_id, fact.valid_from, fact.at, fact.rates, fact.batch, fact.model))
        elif isinstance(fact, DeploymentSet):
            rows.deployments[fact.deployment.name] = _deployment_row(fact)
            rows.gone_deployments.pop(fact.deployment.name, None)
        elif isinstance(fact, RouteSet):
            rows.routes[fact.route.name] = _route_row(fact)
            rows.gone_routes.pop(fact.route.name, None)
        elif isinstance(fact, DeploymentRemoved):
            _remove(fact.name, fact.at, rows.deployments, rows.gone_deployments)
        else:
            _remove(fact.name, fact.at, rows.routes, rows.gone_routes)
    return rows


def _deployment_row(fact: DeploymentSet) -> Row:
    told = fact.deployment
    where = (told.name, told.model, told.provider, told.upstream_model, told.region)
    return (*where, told.weight, told.priority, fact.at, None)


def _route_row(fact: RouteSet) -> Row:
    route = fact.route
    fallbacks = {*route.fallback_models, *route.context_fallbacks, *route.content_fallbacks}
    return (route.name, list(route.deployments), route.strategy, sorted(fallbacks), fact.cache, fact.at, None)


def _remove(name: str, at: datetime, told: dict[str, Row], gone: dict[str, datetime]) -> None:
    if name in told:
        told[name] = (*told[name][:-1], at)
    else:
        gone[name] = at


async def write(connection: Connection, rows: CatalogueRows) -> None:
    for model in rows.models.values():
        await connection.execute(_LIST, *model)
    if rows.prices:
        await connection.copy("prices", _PRICE, rows.prices)
    for row in rows.deployments.values():
        await connection.execute(_SET_DEPLOYMENT, *row)
    for row in rows.routes.values():
        await connection.execute(_SET_ROUTE, *row)
    for name, at in rows.gone_deployments.items():
        await connection.execute("UPDATE deployments SET removed_at = $2 WHERE name = $1", name, at)
    for name, at in rows.gone_routes.items():
        await connection.execute("UPDATE routes SET removed_at = $2 WHERE name = $1", name, at)


_LIST = f"""
    INSERT INTO models ({", ".join(_MODEL)}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (model) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _MODEL)}"""  # noqa: S608

_SET_DEPLOYMENT = f"""
    INSERT INTO deployments ({", ".join(_DEPLOYMENT)}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (name) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _DEPLOYMENT)}"""  # noqa: S608
_SET_ROUTE = f"""
    INSERT INTO routes ({", ".join(_ROUTE)}) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (name) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _ROUTE)}"""  # noqa: S608


CATALOGUE = Projection(
    name="catalogue",
    streams=("EVT",),
    facts=(ModelListed, ModelPriced, DeploymentSet, DeploymentRemoved, RouteSet, RouteRemoved),
    fold=fold,
    write=write,
    tables=("models", "prices", "deployments", "routes"),
)
