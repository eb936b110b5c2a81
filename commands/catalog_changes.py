"""From one declared catalogue to another: what differs, and the facts that tell it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any, Literal

import msgspec

from commands.store import Change
from domain.aggregate import Address, Aggregate
from domain.declaration import Declaration
from domain.declared_deployment import (
    DEPLOYMENT,
    DeploymentRemoved,
    DeploymentSet,
    deployment_address,
    remove_deployment,
    set_deployment,
)
from domain.declared_limits import LIMITS, LimitsRemoved, LimitsSet, amounts, limits_address, remove_limits, set_limits
from domain.declared_route import ROUTE, CatalogRoute, RouteRemoved, RouteSet, remove_route, route_address, set_route
from domain.deployment import Deployment

Kind = Literal["model", "deployment", "route", "limits"]


class CatalogChange(msgspec.Struct, frozen=True):
    """Limits are named by scope and subject (`key:*`); a model is only ever published."""

    kind: Kind
    name: str
    action: Literal["added", "changed", "removed", "published"]


class Difference(msgspec.Struct, frozen=True):
    changes: Sequence[CatalogChange]
    facts: Sequence[Change[Any]]


def difference(before: Declaration, after: Declaration, at: datetime) -> Difference:
    """Whoever has heard only the first of the facts knows of no name that leads nowhere: deployments are set before
    the routes that use them, fallbacks before what falls back to them; what goes, goes last and the other way round."""
    deployments_after, routes_after = _deployments(after), _routes(after)
    limits_before, limits_after = (
        {each.name: each for each in before.limits},
        {each.name: each for each in after.limits},
    )
    deployments = _changes("deployment", _deployments(before), deployments_after)
    routes = _changes("route", _routes(before), routes_after)
    limits = _changes("limits", _amounts(before), _amounts(after))
    coming, going = _places(_fallbacks_first(after)), _places(_fallbacks_first(before)[::-1])
    routes.sort(key=lambda change: coming.get(change.name, len(coming) + going.get(change.name, 0)))
    facts = [
        *(_deployment_set(deployments_after[change.name], at) for change in _staying(deployments)),
        *(_route_set(routes_after[change.name], at) for change in _staying(routes)),
        *(_limits_set(limits_after[change.name]) for change in _staying(limits)),
        *(_limits_removed(limits_before[change.name], at) for change in _going(limits)),
        *(_route_removed(change.name, at) for change in _going(routes)),
        *(_deployment_removed(change.name, at) for change in _going(deployments)),
    ]
    return Difference([*deployments, *routes, *limits], facts)


def _deployments(declared: Declaration) -> Mapping[str, Deployment]:
    return {deployment.name: deployment for deployment in declared.deployments}


def _routes(declared: Declaration) -> Mapping[str, CatalogRoute]:
    return {each.route.name: each for each in declared.routes}


def _amounts(declared: Declaration) -> Mapping[str, tuple[int | None, ...]]:
    """Whenever they were told."""
    return {limits.name: amounts(limits) for limits in declared.limits}


def _changes(kind: Kind, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[CatalogChange]:
    return [
        *(CatalogChange(kind, name, "added") for name in after if name not in before),
        *(CatalogChange(kind, name, "changed") for name in after if name in before and before[name] != after[name]),
        *(CatalogChange(kind, name, "removed") for name in before if name not in after),
    ]


def _staying(changes: Sequence[CatalogChange]) -> list[CatalogChange]:
    return [change for change in changes if change.action != "removed"]


def _going(changes: Sequence[CatalogChange]) -> list[CatalogChange]:
    return [change for change in changes if change.action == "removed"]


def _fallbacks_first(declared: Declaration) -> list[str]:
    routes = [each.route for each in declared.routes]
    falls_back_to = {
        route.name: {*route.fallback_models, *route.context_fallbacks, *route.content_fallbacks} for route in routes
    }
    return list(TopologicalSorter(falls_back_to).static_order())


def _places(names: Sequence[str]) -> Mapping[str, int]:
    return {name: place for place, name in enumerate(names)}


def _deployment_set(deployment: Deployment, at: datetime) -> Change[Any]:
    fact = DeploymentSet(deployment=deployment, at=at)
    return _change(DEPLOYMENT, deployment_address(deployment.name), set_deployment, fact)


def _deployment_removed(name: str, at: datetime) -> Change[Any]:
    fact = DeploymentRemoved(name=name, at=at)
    return _change(DEPLOYMENT, deployment_address(name), remove_deployment, fact)


def _route_set(each: CatalogRoute, at: datetime) -> Change[Any]:
    fact = RouteSet(route=each.route, cache=each.cache, at=at)
    return _change(ROUTE, route_address(each.route.name), set_route, fact)


def _route_removed(name: str, at: datetime) -> Change[Any]:
    return _change(ROUTE, route_address(name), remove_route, RouteRemoved(name=name, at=at))


def _limits_set(limits: LimitsSet) -> Change[Any]:
    return _change(LIMITS, limits_address(limits.name), set_limits, limits)


def _limits_removed(limits: LimitsSet, at: datetime) -> Change[Any]:
    fact = LimitsRemoved(scope=limits.scope, subject=limits.subject, at=at)
    return _change(LIMITS, limits_address(limits.name), remove_limits, fact)


def _change(
    aggregate: Aggregate[Any], address: Address, decide: Callable[[Any, Any], Sequence[Any]], fact: Any
) -> Change[Any]:
    return Change(aggregate, address, lambda state: decide(state, fact))
