"""Routes put together: who may answer a name, how they have been of late, and what is tried when one fails."""

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from redis.asyncio import Redis

from adapters.live_directory import LiveDirectory
from adapters.valkey_breakers import ValkeyBreakers
from api.connections import Connections
from api.model_names import ModelNames
from api.request_id import new_id
from commands.deployment_views import DeploymentViews
from commands.failover import Failover
from commands.route_limits import RouteLimits
from commands.route_requests import RouteBook
from domain.breaker import BreakerPolicy
from domain.catalog import steady_prices
from domain.deployment import Deployment, Route
from domain.retry_budget import RetryBudget, RetryPolicy

CATCH_UP_S = 5.0
"""At a start; what the log holds of deployments is read well within it."""

logger = structlog.get_logger()


class _Routes(Mapping[str, Route]):
    """The directory's routes, without what else is declared with them."""

    def __init__(self, directory: LiveDirectory) -> None:
        self._directory = directory

    def __getitem__(self, name: str) -> Route:
        return self._directory.routes()[name].route

    def __iter__(self) -> Iterator[str]:
        return iter(self._directory.routes())

    def __len__(self) -> int:
        return len(self._directory.routes())


class _Declared:
    """What is declared, and by which edition of it: what makes a change is counted where it is made, and time makes
    one when a price comes into force."""

    def __init__(self, directory: LiveDirectory, connections: Connections) -> None:
        self._directory = directory
        self._connections = connections
        self._routes = _Routes(directory)
        self._edition = 0
        self._changes = -1
        self._since = self._until = datetime.max.replace(tzinfo=UTC)

    def edition(self, at: datetime) -> int:
        changes = self._directory.version + self._connections.version
        if changes != self._changes or not self._since <= at < self._until:
            self._since, self._until = steady_prices(self._directory.models().values(), at)
            self._changes = changes
            self._edition += 1
        return self._edition

    def deployments(self) -> Mapping[str, Deployment]:
        return self._directory.deployments()

    def routes(self) -> Mapping[str, Route]:
        return self._routes


@dataclass(frozen=True)
class Routing:
    book: RouteBook
    failover: Failover
    breakers: ValkeyBreakers
    views: DeploymentViews
    directory: LiveDirectory
    connections: Connections

    def shown(self) -> list[dict[str, Any]]:
        """Each deployment, for operators."""
        return [
            {
                **msgspec.structs.asdict(view),
                "in_flight": self.views.in_flight(view.deployment),
                "latency_ms": self.views.latency_ms(view.deployment, stream=False),
                "first_token_ms": self.views.latency_ms(view.deployment, stream=True),
            }
            for view in self.breakers.view()
        ]

    async def begin(self) -> None:
        """Before anything is served: what is declared is reachable, and is looked at, from the first request on. What
        fails, or a log that stays silent, holds nobody up: `tend` makes up for it."""
        if not await self.directory.until(lambda: self.directory.caught_up, CATCH_UP_S):
            logger.warning("routing_begins_without_the_log", waited_s=CATCH_UP_S)
        try:
            await self.tend()
        except Exception:
            logger.exception("routing_begins_untended")

    async def tend(self) -> None:
        """Once a second: follow what is declared, tell other workers how deployments are, hear it from them."""
        deployments = self.directory.deployments()
        names = frozenset(deployments)
        self.breakers.keep(names)
        self.views.keep(names)
        try:
            await self.connections.keep(deployments.values())
        finally:
            await self.breakers.sync()


def compose_routing(
    valkey: Redis, directory: LiveDirectory, models: ModelNames, connections: Connections, limits: RouteLimits
) -> Routing:
    breakers = ValkeyBreakers(valkey, BreakerPolicy(), time.time, new_id)
    views = DeploymentViews(time.perf_counter)
    declared = _Declared(directory, connections)
    book = RouteBook(declared, models, connections.__contains__, breakers, views, limits, random.random)
    budget = RetryBudget.full(RetryPolicy(), time.perf_counter())
    failover = Failover(breakers, budget, views, book, limits, time.perf_counter, random.random)
    return Routing(book, failover, breakers, views, directory, connections)
