"""Bring the catalogue to what a file says: only what differs becomes a fact."""

from collections.abc import Sequence

import msgspec

from commands.store import Cause, EventStore
from domain.catalog import MODEL, ModelListed, ModelPriced, evolve, list_model, model_address, price_model
from domain.ids import CommandId


class PublishCatalog(msgspec.Struct, frozen=True):
    cause: Cause
    entries: Sequence[tuple[ModelListed, ModelPriced]]


class PublishCatalogHandler:
    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def handle(self, command: PublishCatalog) -> int:
        """How many models changed."""
        changed = 0
        for index, (listed, priced) in enumerate(command.entries):
            address = model_address(listed.model)
            before = await self._store.load(MODEL, address)
            cause = msgspec.structs.replace(command.cause, command_id=CommandId(f"{command.cause.command_id}/{index}"))
            after = await self._store.change(
                MODEL,
                address,
                lambda model, listed=listed, priced=priced: [
                    *(listing := list_model(model, listed)),
                    *price_model(evolve(model, listed) if listing else model, priced),
                ],
                cause,
            )
            changed += after.version != before.version
        return changed
