"""A deployment of the catalogue, as it was declared last. One aggregate per deployment."""

from datetime import datetime
from typing import TypeAlias

import msgspec

from domain.aggregate import Address, Aggregate
from domain.catalog import catalog_address
from domain.deployment import Deployment


class DeploymentFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    at: datetime


class DeploymentSet(DeploymentFact, frozen=True, kw_only=True, tag="catalog.deployment_set.v1"):
    """Setting again replaces what was said before."""

    deployment: Deployment


class DeploymentRemoved(DeploymentFact, frozen=True, kw_only=True, tag="catalog.deployment_removed.v1"):
    name: str


DeploymentEvent: TypeAlias = DeploymentSet | DeploymentRemoved


class DeclaredDeployment(msgspec.Struct, frozen=True):
    """`deployment` is None before it was ever set, and once it is removed."""

    deployment: Deployment | None = None


def set_deployment(state: DeclaredDeployment, proposed: DeploymentSet) -> list[DeploymentEvent]:
    """What may be set is decided over the whole catalogue (`check_declaration`)."""
    return [] if state.deployment == proposed.deployment else [proposed]


def remove_deployment(state: DeclaredDeployment, proposed: DeploymentRemoved) -> list[DeploymentEvent]:
    return [] if state.deployment is None else [proposed]


def evolve(state: DeclaredDeployment, event: DeploymentEvent) -> DeclaredDeployment:
    return DeclaredDeployment(event.deployment if isinstance(event, DeploymentSet) else None)


DEPLOYMENT = Aggregate("deployment", DeclaredDeployment, evolve)


def deployment_address(name: str) -> Address:
    return catalog_address(DEPLOYMENT, name)
