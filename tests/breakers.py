"""Workers with breakers of their own, a clock that tests move, and failures."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adapters.endpoints import RedisEndpoint
from adapters.valkey_breakers import ValkeyBreakers
from domain.breaker import BreakerPolicy
from domain.breakers import Permit
from tests.routing import DOWN

POLICY = BreakerPolicy(window_ms=10_000, minimum_calls=4, slow_ms=1_000, open_ms=5_000, probe_ms=20_000)
NAMES = frozenset({"a", "b"})


class Clock:
    """Begins now: Valkey's own is not far."""

    def __init__(self) -> None:
        self.now_s = time.time()

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def workers(where: RedisEndpoint, clock: Clock, number: int = 2) -> AsyncGenerator[list[ValkeyBreakers]]:
    """More patient than in production: a busy machine is no outage."""
    clients = [
        Redis(host=where.host, port=where.port, password=where.password, retry=Retry(NoBackoff(), 0))
        for _ in range(number)
    ]
    names = count()
    made = [ValkeyBreakers(client, POLICY, clock, lambda: f"probe-{next(names)}", wait_s=10) for client in clients]
    for breakers in made:
        breakers.keep(NAMES)
    try:
        yield made
    finally:
        for client in clients:
            await client.aclose()


async def synced(*each: ValkeyBreakers) -> None:
    for breakers in each:
        await breakers.sync()


def fail(breakers: ValkeyBreakers, times: int = 1) -> None:
    for _ in range(times):
        breakers.ended(Permit("a"), DOWN, 0.1)
