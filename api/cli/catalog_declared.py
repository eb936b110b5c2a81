"""`agg catalog show|diff|apply`: what is declared in the log, and what a file would make of it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import rich_click as click

from adapters.catalog.declared_routing import LimitsEntry, RouteEntry, Sections, sections_of
from adapters.jetstream_event_log import JetStreamEventLog
from api.catalog_file import apply_file
from api.cli.log_access import open_log_access, run
from api.request_id import new_id
from api.settings import Settings
from api.startup import StartupError
from commands.apply_catalog import ApplyCatalog, ApplyCatalogHandler
from commands.catalog_changes import CatalogChange
from commands.store import Cause, EventStore
from domain.errors import InvalidInput
from domain.ids import CommandId

SIGNS = {"added": "+", "changed": "~", "removed": "-", "published": "~"}


def show_catalog(settings: Settings, *, as_json: bool) -> None:
    """Raises StartupError when the log does not answer."""
    sections = run(_read(settings))
    click.echo(msgspec.json.encode(sections).decode() if as_json else _as_text(sections))


def diff_file(settings: Settings, path: Path, *, as_json: bool) -> int:
    """The exit code: 1 when applying it would change something. Raises StartupError for a file that is refused."""
    changes = run(_preview(settings, path))
    click.echo(msgspec.json.encode(changes).decode() if as_json else _listed(changes, "There is no difference."))
    return 1 if changes else 0


def apply_to_log(settings: Settings, path: Path, *, as_json: bool) -> None:
    """Raises StartupError for a file that is refused; nothing is written then."""
    changes = run(_apply(settings, path))
    click.echo(msgspec.json.encode(changes).decode() if as_json else _listed(changes, "Nothing changed."))


async def _read(settings: Settings) -> Sections:
    async with _handler(settings) as handler:
        return sections_of(await handler.declared())


async def _preview(settings: Settings, path: Path) -> Sequence[CatalogChange]:
    async with _handler(settings) as handler:
        return await handler.preview(_command(settings, path))


async def _apply(settings: Settings, path: Path) -> Sequence[CatalogChange]:
    async with _handler(settings) as handler:
        return (await handler.handle(_command(settings, path))).changes


@asynccontextmanager
async def _handler(settings: Settings) -> AsyncGenerator[ApplyCatalogHandler]:
    """Raises StartupError, with one line, for what is refused while it is open."""
    async with open_log_access(settings) as access:
        try:
            yield ApplyCatalogHandler(EventStore(JetStreamEventLog(access.nats), "/cli"))
        except InvalidInput as error:
            raise StartupError(str(error)) from error


def _command(settings: Settings, path: Path) -> ApplyCatalog:
    cause = Cause(CommandId(new_id()), datetime.now(UTC), actor="cli")
    return apply_file(path, cause, also=settings.catalog)


def _listed(changes: Sequence[CatalogChange], nothing: str) -> str:
    lines = [f"{SIGNS[change.action]} {change.kind:<10}  {change.name}" for change in changes]
    return "\n".join(lines) or nothing


def _as_text(sections: Sections) -> str:
    lines = [
        *(
            f"deployment  {each.name}  {each.provider}/{each.upstream_model}  as {each.model}  weight {each.weight}"
            for each in sections.deployments
        ),
        *(_route_line(route) for route in sections.routes),
        *(_limits_line(limits) for limits in sections.limits),
    ]
    return "\n".join(lines) or "Nothing is declared: models are served by their names, without limits."


def _route_line(route: RouteEntry) -> str:
    cached = ""
    if route.cache:
        priced = f", a hit costs {route.cache.hit_percent} %" if route.cache.hit_percent else ""
        cached = f"  cached {route.cache.ttl_s} s ({route.cache.scope}{priced})"
    fallbacks = f"  then {', '.join(route.fallback_models)}" if route.fallback_models else ""
    return f"route       {route.name}  {route.strategy} over {', '.join(route.deployments)}{fallbacks}{cached}"


def _limits_line(limits: LimitsEntry) -> str:
    told = msgspec.to_builtins(limits)
    said = ", ".join(f"{name} {amount}" for name, amount in told.items() if name not in ("scope", "subject"))
    return f"limits      {limits.scope}:{limits.subject}  {said}"
