"""A client for Valkey or Redis. What it holds can be rebuilt; nothing of money or identity depends on it."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adapters.endpoints import RedisEndpoint

TIMEOUT_S = 0.05
"""Slower than this counts as down."""


def open_valkey(endpoint: RedisEndpoint) -> Redis:
    """Connects when first used."""
    return Redis(
        host=endpoint.host,
        port=endpoint.port,
        password=endpoint.password,
        db=endpoint.db,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
