"""What is declared in the catalogue, as the log has it now."""

import asyncio
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from commands.store import EventStore, Versioned
from domain.aggregate import Address, Aggregate
from domain.catalog import MODEL, Kind, model_address
from domain.catalog_sources import CATALOG_ADDRESS, CATALOG_SOURCES, CatalogSources, Source
from domain.declaration import Declaration
from domain.declared_deployment import DEPLOYMENT, deployment_address
from domain.declared_limits import LIMITS, limits_address
from domain.declared_route import ROUTE, route_address

State = TypeVar("State")

AT_ONCE = 16
"""Aggregates that are read at the same time."""


class Declared(msgspec.Struct, frozen=True):
    """`everything` belongs to `sources` as far as nothing is written meanwhile: an append beside it is guarded."""

    sources: Versioned[CatalogSources]
    everything: Declaration

    def without(self, source: Source) -> Declaration:
        """What others declared."""
        deployments, routes, limits = map(frozenset, (source.deployments, source.routes, source.limits))
        return Declaration(
            tuple(each for each in self.everything.deployments if each.name not in deployments),
            tuple(each for each in self.everything.routes if each.route.name not in routes),
            tuple(each for each in self.everything.limits if each.name not in limits),
        )


class DeclaredCatalog:
    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def sources(self) -> Versioned[CatalogSources]:
        return await self._store.load(CATALOG_SOURCES, CATALOG_ADDRESS)

    async def read(self) -> Declared:
        """By name. Raises Unavailable."""
        sources = await self.sources()
        names = sources.state.everything
        deployments, routes, limits = await asyncio.gather(
            self._states(DEPLOYMENT, map(deployment_address, names.deployments)),
            self._states(ROUTE, map(route_address, names.routes)),
            self._states(LIMITS, map(limits_address, names.limits)),
        )
        everything = Declaration(
            tuple(state.deployment for state in deployments if state.deployment is not None),
            tuple(state.current for state in routes if state.current is not None),
            tuple(state.told for state in limits if state.told is not None),
        )
        return Declared(sources, everything)

    async def models(self, names: Iterable[str]) -> dict[str, Kind]:
        """Of these, those that the catalogue lists, whoever published them."""
        models = await self._states(MODEL, map(model_address, sorted(names)))
        return {model.model: model.kind for model in models if model.listed_at is not None}

    async def _states(self, aggregate: Aggregate[State], addresses: Iterable[Address]) -> list[State]:
        return await asyncio.gather(*(self._state(aggregate, address) for address in addresses))

    async def _state(self, aggregate: Aggregate[State], address: Address) -> State:
        async with self._slots:
            return (await self._store.load(aggregate, address)).state
