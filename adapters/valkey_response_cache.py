"""Cached answers in Valkey: sealed, each with an end, one round trip to read.

    cache:{<scope>}:generation     the secret under which the scope's answers are sealed; replacing it purges them all
    cache:{<scope>}:<digest>       a sealed answer

The braces keep what is read together on one node of a cluster. A generation that is lost, evicted for instance, takes
its answers with it, and never brings any back.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.answer_sealing import GENERATION_BYTES, new_generation, open_answer, seal_answer
from adapters.cache_guard import CacheGuard, NoAnswer
from adapters.sealing import SealBroken
from domain.errors import Unavailable
from domain.response_cache import LARGEST_ANSWER_BYTES, LONGEST_TTL_S, CachedAnswer, CacheKey

FAILURES = (RedisError, OSError, TimeoutError)
"""For the guard: what Valkey's client raises when Valkey is broken."""
MOST_MEMORY = 0.75
"""Rate limits live in the same Valkey, and it refuses all writes once it is full: answers leave them the rest."""
MEMORY_KNOWN_S = 1.0


class ValkeyResponseCache:
    """Supplies `ResponseCache`. `clock` is monotonic seconds; `count` is told one outcome of every call, beside what
    the guard counts: `hit`, `miss`, `too_old`, `unreadable`; `stored`, `too_large`, `full`; `purged`."""

    def __init__(
        self,
        valkey: Redis,
        sealing_key: bytes,
        guard: CacheGuard,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        count: Callable[[str], None],
    ) -> None:
        self._valkey = valkey
        self._sealing_key = sealing_key
        self._guard = guard
        self._now = now
        self._clock = clock
        self._count = count
        self._has_room = True
        self._room_known_until = 0.0

    @property
    def is_asked(self) -> bool:
        return self._guard.would_try

    async def get(self, key: CacheKey, max_age_s: int | None = None) -> CachedAnswer | None:
        try:
            found = await self._guard.attempt(lambda: self._valkey.mget(*_places(key)))
        except NoAnswer:
            return None
        outcome, answer = self._opened(key, found)
        if answer is not None and max_age_s is not None and self._age_s(answer) > max_age_s:
            outcome, answer = "too_old", None
        self._count(outcome)
        return answer

    def _opened(self, key: CacheKey, found: Sequence[object]) -> tuple[str, CachedAnswer | None]:
        generation, sealed = found
        if not isinstance(generation, bytes) or not isinstance(sealed, bytes):
            return "miss", None
        try:
            return "hit", open_answer(self._sealing_key, key, generation, sealed)
        except SealBroken:
            return "unreadable", None

    def _age_s(self, answer: CachedAnswer) -> float:
        return (self._now() - answer.stored_at).total_seconds()

    async def put(self, key: CacheKey, answer: CachedAnswer, ttl_s: int) -> None:
        if answer.size_bytes > LARGEST_ANSWER_BYTES:
            self._count("too_large")
            return
        try:
            self._count(await self._guard.attempt(lambda: self._store(key, answer, ttl_s)))
        except NoAnswer:
            return

    async def _store(self, key: CacheKey, answer: CachedAnswer, ttl_s: int) -> str:
        if not await self._room():
            return "full"
        at_generation, at_answer = _places(key)
        async with self._valkey.pipeline(transaction=False) as pipeline:
            pipeline.set(at_generation, new_generation(), nx=True)
            pipeline.getex(at_generation, ex=LONGEST_TTL_S)
            _, generation = await pipeline.execute()
        if not isinstance(generation, bytes) or len(generation) != GENERATION_BYTES:
            return "unreadable"
        sealed = seal_answer(self._sealing_key, key, generation, answer)
        await self._valkey.set(at_answer, sealed, ex=max(1, min(ttl_s, LONGEST_TTL_S)))
        return "stored"

    async def _room(self) -> bool:
        if self._clock() >= self._room_known_until:
            memory = await self._valkey.info("memory")
            most = memory["maxmemory"] or memory["total_system_memory"]
            self._has_room = memory["used_memory"] < MOST_MEMORY * most
            self._room_known_until = self._clock() + MEMORY_KNOWN_S
        return self._has_room

    async def purge(self, scope: str) -> None:
        try:
            await self._guard.attempt(
                lambda: self._valkey.set(_generation_of(scope), new_generation(), ex=LONGEST_TTL_S)
            )
        except NoAnswer:
            raise Unavailable("Cached answers cannot be purged now: Valkey does not answer.") from None
        self._count("purged")


def _places(key: CacheKey) -> tuple[str, str]:
    return _generation_of(key.scope), f"cache:{{{key.scope}}}:{key.digest}"


def _generation_of(scope: str) -> str:
    return f"cache:{{{scope}}}:generation"
