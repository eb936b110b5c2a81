"""A route of the catalogue, as it was declared last, and whether its answers are cached. One aggregate per route."""

from datetime import datetime
from typing import TypeAlias

import msgspec

from domain.aggregate import Address, Aggregate
from domain.catalog import catalog_address
from domain.deployment import Route
from domain.response_cache import CachePolicy


class CatalogRoute(msgspec.Struct, frozen=True):
    """Without `cache` no answer of it is given twice."""

    route: Route
    cache: CachePolicy | None = None


class RouteFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    at: datetime


class RouteSet(RouteFact, frozen=True, kw_only=True, omit_defaults=True, tag="catalog.route_set.v1"):
    """Setting again replaces what was said before."""

    route: Route
    cache: CachePolicy | None = None


class RouteRemoved(RouteFact, frozen=True, kw_only=True, tag="catalog.route_removed.v1"):
    name: str


RouteEvent: TypeAlias = RouteSet | RouteRemoved


class DeclaredRoute(msgspec.Struct, frozen=True):
    """`current` is None before it was ever set, and once it is removed."""

    current: CatalogRoute | None = None


def set_route(state: DeclaredRoute, proposed: RouteSet) -> list[RouteEvent]:
    """What may be set is decided over the whole catalogue (`check_declaration`)."""
    return [] if state.current == CatalogRoute(proposed.route, proposed.cache) else [proposed]


def remove_route(state: DeclaredRoute, proposed: RouteRemoved) -> list[RouteEvent]:
    return [] if state.current is None else [proposed]


def evolve(state: DeclaredRoute, event: RouteEvent) -> DeclaredRoute:
    return DeclaredRoute(CatalogRoute(event.route, event.cache) if isinstance(event, RouteSet) else None)


ROUTE = Aggregate("route", DeclaredRoute, evolve)


def route_address(name: str) -> Address:
    return catalog_address(ROUTE, name)
