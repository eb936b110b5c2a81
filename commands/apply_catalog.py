"""Make the catalogue what a file or an administrator declares: all of it, or nothing.

Everything is checked before anything is written. Models come first, each for itself (they are never taken back, and
what is published already is not told again); then deployments, routes and limits in one append that the log takes
whole or not at all.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from commands.catalog_changes import CatalogChange, Difference, difference
from commands.declared_catalog import DeclaredCatalog
from commands.publish_catalog import CatalogEntry, PublishCatalog, PublishCatalogHandler
from commands.store import Cause, Change, EventStore, Versioned
from domain.catalog import Kind
from domain.catalog_sources import CATALOG_ADDRESS, CATALOG_SOURCES, CatalogApplied, CatalogSources, evolve
from domain.declaration import Declaration, check_declaration, models_named
from domain.errors import InvalidInput, Unavailable
from domain.ids import CommandId

FILE, ADMIN = "file", "admin"
"""Sources: the catalogue file, and the admin API."""
MOST_CHANGES = 999
"""One append takes a thousand facts, and one of them says who declared them."""
ATTEMPTS = 10


class ApplyCatalog(msgspec.Struct, frozen=True, kw_only=True):
    """What `source` declared before and `declaration` does not name is removed; with `whole` what others did, too.

    `providers` are the names that a deployment may use. With `if_changed`, what is the same as this source said last
    is not applied again, whatever others have made of it since.
    """

    cause: Cause
    source: str
    declaration: Declaration
    providers: frozenset[str]
    entries: Sequence[CatalogEntry] = ()
    whole: bool = False
    if_changed: bool = False


class CatalogChanged(msgspec.Struct, frozen=True):
    """`position` is that of the last change of what is declared, 0 before there was any."""

    changes: tuple[CatalogChange, ...]
    position: int


class _Plan(msgspec.Struct, frozen=True):
    """`applied` is None when there is nothing to tell of what is declared."""

    models: Sequence[CatalogEntry]
    sources: Versioned[CatalogSources]
    declared: Difference = Difference((), ())
    applied: CatalogApplied | None = None

    @property
    def published(self) -> tuple[CatalogChange, ...]:
        return tuple(CatalogChange("model", listed.model, "published") for listed, _ in self.models)


class _Moved(Exception):
    """Somebody else declared something meanwhile."""


class ApplyCatalogHandler:
    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._catalog = DeclaredCatalog(store)
        self._publish = PublishCatalogHandler(store)

    async def declared(self) -> Declaration:
        """All that is declared, by name. Raises Unavailable."""
        return (await self._catalog.read()).everything

    async def preview(self, command: ApplyCatalog) -> tuple[CatalogChange, ...]:
        """What it would change. Raises as `handle` does."""
        plan = await self._plan(command)
        return (*plan.published, *plan.declared.changes)

    async def handle(self, command: ApplyCatalog) -> CatalogChanged:
        """Raises InvalidInput that names place and remedy (nothing was written), and Unavailable."""
        published: tuple[CatalogChange, ...] = ()
        for attempt in range(ATTEMPTS):
            plan = await self._plan(command)
            if plan.models:
                await self._publish.handle(PublishCatalog(_part(command.cause, "models"), plan.models))
                published += plan.published
            if plan.applied is None:
                return CatalogChanged(published, plan.sources.position)
            try:
                changes = [*plan.declared.facts, _applied(plan.sources.state, plan.applied)]
                after = await self._store.change_all(changes, _part(command.cause, f"declared/{attempt}"))
            except _Moved:
                continue
            return CatalogChanged((*published, *plan.declared.changes), after[-1].position)
        raise Unavailable("The catalogue is changed by too many at once; try again.", retry_after_s=1)

    async def _plan(self, command: ApplyCatalog) -> _Plan:
        models = await self._publish.differing(command.entries)
        declared = command.declaration
        if command.if_changed:
            sources = await self._catalog.sources()
            if sources.state.of(command.source).digest == declared.digest:
                return _Plan(models, sources)
        known = await self._catalog.read()
        kept = Declaration() if command.whole else known.without(known.sources.state.of(command.source))
        await self._check(command, kept)
        differs = difference(known.everything, declared.beside(kept), command.cause.at)
        if len(differs.changes) > MOST_CHANGES:
            raise InvalidInput(f"{len(differs.changes)} changes are too many at once; apply {MOST_CHANGES} at most.")
        applied = CatalogApplied(
            source=command.source, at=command.cause.at, digest=declared.digest, whole=command.whole, **declared.names
        )
        is_news = differs.changes or evolve(known.sources.state, applied) != known.sources.state
        return _Plan(models, known.sources, differs, applied if is_news else None)

    async def _check(self, command: ApplyCatalog, kept: Declaration) -> None:
        models: dict[str, Kind] = {listed.model: listed.kind for listed, _ in command.entries}
        named = models_named(command.declaration.beside(kept)) - models.keys()
        models.update(await self._catalog.models(named))
        check_declaration(command.declaration, kept, models, command.providers)


def _applied(seen: CatalogSources, applied: CatalogApplied) -> Change[Any]:
    """Recorded only beside what was planned on the same sources."""

    def decide(sources: CatalogSources) -> list[CatalogApplied]:
        if sources != seen:
            raise _Moved
        return [applied]

    return Change(CATALOG_SOURCES, CATALOG_ADDRESS, decide)


def _part(cause: Cause, name: str) -> Cause:
    """An id for its own events."""
    return msgspec.structs.replace(cause, command_id=CommandId(f"{cause.command_id}/{name}"))
