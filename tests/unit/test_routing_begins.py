"""Before the first request: what is declared is looked at, and what cannot be opened holds nobody up."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, cast

from redis.asyncio import Redis
from structlog.testing import capture_logs

from adapters.live_directory import LiveDirectory
from adapters.valkey_breakers import ValkeyBreakers
from api.connections import Connections
from api.routing import Routing
from commands.deployment_views import DeploymentViews
from domain.breaker import BreakerPolicy
from domain.deployment import Deployment


class Heard:
    last_heard = 0.0


class Closed:
    """Connections of which none can be opened."""

    def __init__(self) -> None:
        self.asked = 0

    async def keep(self, deployments: Iterable[Deployment]) -> None:
        self.asked += 1
        raise OSError("There are no files left to open.")


def routing(directory: LiveDirectory, connections: Closed) -> Routing:
    breakers = ValkeyBreakers(Redis(), BreakerPolicy(), time.time, lambda: "probe")
    unused = cast(Any, None)
    return Routing(
        unused, unused, breakers, DeploymentViews(time.perf_counter), directory, cast(Connections, connections)
    )


async def test_routing_begins_once_the_directory_has_all_that_was_in_the_log() -> None:
    directory, connections = LiveDirectory(), Closed()
    beginning = asyncio.create_task(routing(directory, connections).begin())
    for _ in range(5):
        await asyncio.sleep(0)
    asked_before = connections.asked

    with capture_logs() as said:
        directory.rely_on(Heard())
        await beginning

    assert (asked_before, connections.asked) == (0, 1)
    assert [each["event"] for each in said] == ["routing_begins_untended"]
