"""Bring the catalogue to what a file says: only what differs becomes a fact."""

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from commands.store import Cause, EventStore
from domain.catalog import (
    MODEL,
    CatalogEvent,
    Model,
    ModelListed,
    ModelPriced,
    evolve,
    list_model,
    model_address,
    price_model,
)
from domain.ids import CommandId

CatalogEntry: TypeAlias = tuple[ModelListed, tuple[ModelPriced, ...]]

AT_ONCE = 16
"""Models that are read or written at the same time."""


class PublishCatalog(msgspec.Struct, frozen=True):
    """Each model once, with all its prices."""

    cause: Cause
    entries: Sequence[CatalogEntry]


class PublishCatalogHandler:
    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def handle(self, command: PublishCatalog) -> int:
        """How many models changed. Of a model that is up to date the last event is read, and nothing written.

        What one model was refused for is raised once all others are done: InvalidInput, or Unavailable.
        """
        publishing = (
            self._publish(listed, prices, _cause_of(command, index))
            for index, (listed, prices) in enumerate(command.entries)
        )
        outcomes = await asyncio.gather(*publishing, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return sum(outcome is True for outcome in outcomes)

    async def differing(self, entries: Sequence[CatalogEntry]) -> list[CatalogEntry]:
        """Those that would change something. Raises InvalidInput for the first that would be refused."""
        found = await asyncio.gather(*(self._differs(listed, prices) for listed, prices in entries))
        return [entry for entry, differs in zip(entries, found, strict=True) if differs]

    async def _differs(self, listed: ModelListed, prices: Sequence[ModelPriced]) -> bool:
        async with self._slots:
            known = await self._store.load(MODEL, model_address(listed.model))
        return bool(_decide(known.state, listed, prices))

    async def _publish(self, listed: ModelListed, prices: Sequence[ModelPriced], cause: Cause) -> bool:
        def decide(model: Model) -> list[CatalogEvent]:
            return _decide(model, listed, prices)

        address = model_address(listed.model)
        async with self._slots:
            known = await self._store.load(MODEL, address)
            if not decide(known.state):
                return False
            await self._store.change(MODEL, address, decide, cause)
            return True


def _decide(model: Model, listed: ModelListed, prices: Sequence[ModelPriced]) -> list[CatalogEvent]:
    listing = list_model(model, listed)
    return [*listing, *price_model(evolve(model, listed) if listing else model, *prices)]


def _cause_of(command: PublishCatalog, index: int) -> Cause:
    """An id for each model's own events."""
    return msgspec.structs.replace(command.cause, command_id=CommandId(f"{command.cause.command_id}/{index}"))
