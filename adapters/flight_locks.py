"""Which worker asks for an answer that several want: a short lock in Valkey, released by whoever took it."""

from typing import Protocol

from redis.asyncio import Redis

from adapters.cache_guard import CacheGuard, NoAnswer
from domain.response_cache import CacheKey

LEASE_MS = 60_000
"""A worker that died is waited for no longer; of two that overlap, the later answer is kept."""

RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0
"""


class FlightLocks(Protocol):
    """Neither fails, nor takes more than 50 ms."""

    async def take(self, key: CacheKey, token: str) -> bool:
        """False when another worker has it. True when nobody can tell: two that ask are better than none."""
        ...

    async def release(self, key: CacheKey, token: str) -> None:
        """Without effect on a lock that was taken with another token."""
        ...


class ValkeyFlightLocks:
    def __init__(self, valkey: Redis, guard: CacheGuard) -> None:
        self._valkey = valkey
        self._guard = guard

    async def take(self, key: CacheKey, token: str) -> bool:
        try:
            return bool(await self._guard.attempt(lambda: self._valkey.set(_place(key), token, nx=True, px=LEASE_MS)))
        except NoAnswer:
            return True

    async def release(self, key: CacheKey, token: str) -> None:
        try:
            await self._guard.attempt(lambda: self._valkey.eval(RELEASE, 1, _place(key), token))
        except NoAnswer:
            return  # the lease ends by itself


def _place(key: CacheKey) -> str:
    return f"cache:{{{key.scope}}}:{key.digest}:lock"
