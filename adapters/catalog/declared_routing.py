"""Deployments, routes and limits as a person writes them: in the catalogue file, and the same as JSON."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec

from domain.declaration import Declaration
from domain.declared_limits import LimitsSet
from domain.declared_route import CatalogRoute
from domain.deployment import Deployment, Limits, Route
from domain.limits import Scope
from domain.money import nanos_from_usd, usd
from domain.response_cache import CachePolicy
from domain.semantic_cache import SemanticPolicy

Plain = TypeVar("Plain")


class GrantedEntry(Limits, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    pass


class DeploymentEntry(Deployment, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    limits: GrantedEntry = GrantedEntry()


class SemanticEntry(SemanticPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class CacheEntry(CachePolicy, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    semantic: SemanticEntry | None = None


class RouteEntry(Route, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    cache: CacheEntry | None = None


class LimitsEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """USD are decimal strings. What is not named is not limited."""

    scope: Scope
    subject: str
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    concurrent: int | None = None
    spend_usd_per_day: str | None = None
    spend_usd_per_month: str | None = None

    def __post_init__(self) -> None:
        for name in ("spend_usd_per_day", "spend_usd_per_month"):
            amount: str | None = getattr(self, name)
            if amount is not None:
                _nanos(name, amount)


class Sections(msgspec.Struct, frozen=True, kw_only=True):
    """As they stand in the file, in its order."""

    deployments: tuple[DeploymentEntry, ...] = ()
    routes: tuple[RouteEntry, ...] = ()
    limits: tuple[LimitsEntry, ...] = ()


def declaration_of(
    deployments: Sequence[DeploymentEntry], routes: Sequence[RouteEntry], limits: Sequence[LimitsEntry], at: datetime
) -> Declaration:
    """As told at `at`. Whether it fits together is for `check_declaration` to say."""
    return Declaration(
        tuple(_converted(entry, Deployment) for entry in deployments),
        tuple(
            CatalogRoute(_converted(entry, Route), _converted(entry.cache, CachePolicy) if entry.cache else None)
            for entry in routes
        ),
        tuple(_limits_set(entry, at) for entry in limits),
    )


def sections_of(declared: Declaration) -> Sections:
    return Sections(
        deployments=tuple(_converted(deployment, DeploymentEntry) for deployment in declared.deployments),
        routes=tuple(_route_entry(each) for each in declared.routes),
        limits=tuple(_limits_entry(limits) for limits in declared.limits),
    )


def _converted(told: msgspec.Struct, shape: type[Plain]) -> Plain:
    return msgspec.convert(msgspec.to_builtins(told), shape)


def _route_entry(each: CatalogRoute) -> RouteEntry:
    cache: dict[str, Any] = {} if each.cache is None else {"cache": msgspec.to_builtins(each.cache)}
    return msgspec.convert({**msgspec.to_builtins(each.route), **cache}, RouteEntry)


def _limits_set(entry: LimitsEntry, at: datetime) -> LimitsSet:
    per_day, per_month = entry.spend_usd_per_day, entry.spend_usd_per_month
    return LimitsSet(
        scope=entry.scope,
        subject=entry.subject,
        at=at,
        requests_per_minute=entry.requests_per_minute,
        requests_per_day=entry.requests_per_day,
        tokens_per_minute=entry.tokens_per_minute,
        tokens_per_day=entry.tokens_per_day,
        concurrent=entry.concurrent,
        spend_per_day_nanos=None if per_day is None else _nanos("spend_usd_per_day", per_day),
        spend_per_month_nanos=None if per_month is None else _nanos("spend_usd_per_month", per_month),
    )


def _limits_entry(limits: LimitsSet) -> LimitsEntry:
    per_day, per_month = limits.spend_per_day_nanos, limits.spend_per_month_nanos
    return LimitsEntry(
        scope=limits.scope,
        subject=limits.subject,
        requests_per_minute=limits.requests_per_minute,
        requests_per_day=limits.requests_per_day,
        tokens_per_minute=limits.tokens_per_minute,
        tokens_per_day=limits.tokens_per_day,
        concurrent=limits.concurrent,
        spend_usd_per_day=None if per_day is None else usd(per_day),
        spend_usd_per_month=None if per_month is None else usd(per_month),
    )


def _nanos(name: str, amount: str) -> int:
    """Raises ValueError."""
    try:
        return nanos_from_usd(Decimal(amount))
    except InvalidOperation:
        raise ValueError(f"{name}: amounts are decimal strings such as '2.50'") from None
