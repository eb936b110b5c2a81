"""Catalogues to declare, and an operator who declares them."""

from datetime import UTC, datetime
from typing import Any

from adapters.catalog.declared_provider import BUILT_IN
from adapters.live_directory import LiveDirectory
from commands.apply_catalog import FILE, ApplyCatalog, ApplyCatalogHandler, CatalogChanged
from commands.publish_catalog import CatalogEntry
from commands.store import Cause, EventStore
from domain.catalog import ModelListed
from domain.declaration import Declaration
from domain.declared_limits import LimitsSet
from domain.declared_route import CatalogRoute
from domain.deployment import Deployment, Route
from domain.ids import CommandId
from domain.ports import EventLog, LogMessage
from tests.accounts import FollowedLog

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def listing(model: str, **changes: Any) -> CatalogEntry:
    """A model without a price."""
    sizes = {"context_length": 100, "max_output_tokens": 10}
    told: dict[str, Any] = {"provider": "openai", "upstream_model": model, "owned_by": "openai", **sizes, **changes}
    return ModelListed(model=model, at=NOW, **told), ()


MODELS = (listing("gpt-4o"), listing("o3"), listing("embed", kind="embedding"))


def deployment(name: str, **changes: Any) -> Deployment:
    told: dict[str, Any] = {"model": "gpt-4o", "provider": "openai", "upstream_model": "gpt-4o", **changes}
    return Deployment(name=name, **told)


def route(name: str, *deployments: str, cache: Any = None, **changes: Any) -> CatalogRoute:
    return CatalogRoute(Route(name=name, deployments=deployments, **changes), cache)


def limits(scope: Any = "key", subject: str = "*", **amounts: Any) -> LimitsSet:
    return LimitsSet(scope=scope, subject=subject, at=NOW, **(amounts or {"concurrent": 4}))


def declaration(*items: Deployment | CatalogRoute | LimitsSet) -> Declaration:
    return Declaration(
        tuple(item for item in items if isinstance(item, Deployment)),
        tuple(item for item in items if isinstance(item, CatalogRoute)),
        tuple(item for item in items if isinstance(item, LimitsSet)),
    )


class Operator:
    """One process over a log that others share."""

    def __init__(self, log: EventLog, name: str = "op") -> None:
        self.handler = ApplyCatalogHandler(EventStore(log, f"/{name}"))
        self._name = name
        self._commands = 0

    def command(self, *items: Deployment | CatalogRoute | LimitsSet, source: str = FILE, **how: Any) -> ApplyCatalog:
        self._commands += 1
        cause = Cause(CommandId(f"{self._name}{self._commands}"), NOW, "test")
        declared = declaration(*items)
        return ApplyCatalog(cause=cause, source=source, declaration=declared, providers=BUILT_IN, **how)

    async def apply(self, *items: Deployment | CatalogRoute | LimitsSet, **how: Any) -> CatalogChanged:
        how.setdefault("entries", MODELS)
        return await self.handler.handle(self.command(*items, **how))

    async def names(self) -> dict[str, set[str]]:
        declared = await self.handler.declared()
        return {section: set(names) for section, names in declared.names.items()}


async def declared_story() -> list[LogMessage]:
    """As `EVT` holds it: deployments and routes that are set, changed, removed, and one that comes back."""
    log = FollowedLog()
    messages: list[LogMessage] = []

    def hear(subject: str, raw: bytes) -> None:
        messages.append(LogMessage("EVT", len(messages) + 1, subject, NOW, raw))

    log.followers.append(hear)
    operator, fast = Operator(log), route("fast", "eu", fallback_models=("o3",))
    await operator.apply(deployment("eu"), deployment("us"), fast, route("slow", "us"), limits())
    await operator.apply(deployment("us"), route("slow", "us"))
    await operator.apply(deployment("eu", weight=2), fast)
    return messages


def names_in(directory: LiveDirectory) -> dict[str, set[str]]:
    return {
        "deployments": set(directory.deployments()),
        "routes": set(directory.routes()),
        "limits": {each.name for each in directory.limits()},
    }
