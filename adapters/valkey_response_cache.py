"""Cached answers in Valkey: sealed, each with an end; one round trip to look, one to keep.

    cache:{<scope>}:generation     the secret under which the scope's answers are sealed; replacing it purges them all
    cache:{<scope>}:<digest>       a sealed answer
    cache:{<scope>}:<digest>:lock  the token of who asks for it just now

The braces keep what is read together on one node of a cluster. A generation that is lost, evicted for instance, takes
its answers with it, and never brings any back.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.answer_sealing import GENERATION_BYTES, new_generation, open_answer, seal_answer
from adapters.cache_guard import CacheGuard, NoAnswer
from adapters.sealing import SealBroken
from adapters.valkey_scripts import TIMEOUT_S, BatchedScripts, Script, ValkeyAway
from domain.errors import Unavailable
from domain.response_cache import LARGEST_ANSWER_BYTES, LONGEST_TTL_S, CachedAnswer, CacheKey, Looked

FAILURES = (ValkeyAway, RedisError, OSError, TimeoutError)
"""For the guard: what is raised when Valkey is broken."""
MOST_MEMORY = 0.75
"""Rate limits live in the same Valkey, and it refuses all writes once it is full: answers leave them the rest."""
MEMORY_KNOWN_S = 1.0
LEASE_MS = 60_000
"""A worker that died is waited for no longer; of two that overlap, the later answer is kept."""
MAX_GENERATIONS = 10_000
"""Of scopes, at hand."""
TRIES = 2
ONLY_LOOK, ANY_ANSWER, NO_ANSWER = "", 1, 0

# KEYS: generation, answer, lock. ARGV: token or '', its lease in ms, whether an answer will do.
# Answers {generation or '', sealed answer or '', 1 if the token leads}.
LOOK = Script("""
local generation = redis.call('GET', KEYS[1]) or ''
local sealed = ARGV[3] == '1' and generation ~= '' and redis.call('GET', KEYS[2]) or ''
if sealed ~= '' or ARGV[1] == '' then return {generation, sealed, 0} end
local holder = redis.call('GET', KEYS[3])
if not holder then redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2]) end
return {generation, '', (not holder or holder == ARGV[1]) and 1 or 0}
""")

# KEYS: the same. ARGV: token, the answer sealed, under which generation, ttl in s, a generation if there is none, its
# ttl in s. Answers 1, or the generation to seal it under.
KEEP = Script("""
local generation = redis.call('GET', KEYS[1])
if not generation then
    generation = ARGV[5]
    redis.call('SET', KEYS[1], generation, 'EX', ARGV[6])
end
if generation ~= ARGV[3] then return generation end
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[4])
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
return 1
""")

RELEASE = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
""")


class ValkeyResponseCache:
    """Supplies `ResponseCache`. `clock` is monotonic seconds; `count` is told one outcome of every call, beside what
    the guard counts: `hit`, `miss`, `too_old`, `unreadable`; `stored`, `too_large`, `full`, `purged_meanwhile`;
    `purged`. Close it before the client."""

    def __init__(
        self,
        valkey: Redis,
        sealing_key: bytes,
        guard: CacheGuard,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        count: Callable[[str], None],
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._valkey = valkey
        self._scripts = BatchedScripts(valkey, LOOK, KEEP, RELEASE, timeout_s=timeout_s)
        self._sealing_key = sealing_key
        self._guard = guard
        self._now = now
        self._clock = clock
        self._count = count
        self._generations: dict[str, bytes] = {}
        self._has_room = True
        self._room_known_until = 0.0

    @property
    def is_asked(self) -> bool:
        return self._guard.would_try

    async def get(self, key: CacheKey, max_age_s: int | None = None) -> CachedAnswer | None:
        try:
            answer, _ = await self._look(key, ONLY_LOOK, max_age_s)
        except NoAnswer:
            return None
        return answer

    async def get_or_lead(self, key: CacheKey, token: str, max_age_s: int | None = None) -> Looked:
        try:
            answer, (_, sealed, leads) = await self._look(key, token, max_age_s)
            if answer is None and sealed:  # there is one, but it will not do
                _, _, leads = await self._call(LOOK, key, token, LEASE_MS, NO_ANSWER)
        except NoAnswer:
            return Looked(None, leads=True)
        return Looked(answer, leads=bool(leads))

    async def _look(
        self, key: CacheKey, token: str, max_age_s: int | None
    ) -> tuple[CachedAnswer | None, tuple[bytes, bytes, int]]:
        found = await self._call(LOOK, key, token, LEASE_MS, ANY_ANSWER)
        generation, sealed, _ = found
        self._remember(key.scope, generation)
        outcome, answer = self._opened(key, generation, sealed)
        if answer is not None and max_age_s is not None and self._age_s(answer) > max_age_s:
            outcome, answer = "too_old", None
        self._count(outcome)
        return answer, found

    def _opened(self, key: CacheKey, generation: bytes, sealed: bytes) -> tuple[str, CachedAnswer | None]:
        if not sealed:
            return "miss", None
        try:
            return "hit", open_answer(self._sealing_key, key, generation, sealed)
        except SealBroken:
            return "unreadable", None

    def _age_s(self, answer: CachedAnswer) -> float:
        return (self._now() - answer.stored_at).total_seconds()

    async def put(self, key: CacheKey, answer: CachedAnswer, ttl_s: int, token: str = "") -> bool:
        if answer.size_bytes > LARGEST_ANSWER_BYTES:
            self._count("too_large")
            return False
        try:
            outcome = await self._store(key, answer, max(1, min(ttl_s, LONGEST_TTL_S)), token)
        except NoAnswer:
            return False
        self._count(outcome)
        return outcome == "stored"

    async def _store(self, key: CacheKey, answer: CachedAnswer, ttl_s: int, token: str) -> str:
        if not await self._room():
            return "full"
        fresh = new_generation()
        known = self._generations.get(key.scope)
        generation = known or fresh
        for _ in range(TRIES):
            sealed = seal_answer(self._sealing_key, key, generation, answer)
            reply = await self._call(KEEP, key, token, sealed, generation, ttl_s, fresh, LONGEST_TTL_S)
            if reply == 1:
                self._remember(key.scope, generation)
                return "stored"
            if len(reply) != GENERATION_BYTES:
                return "unreadable"
            generation = reply
            self._remember(key.scope, generation)
            if known is not None:  # the answer may be older than the purge
                break
        return "purged_meanwhile"

    async def _room(self) -> bool:
        if self._clock() >= self._room_known_until:
            memory = await self._guard.attempt(lambda: self._valkey.info("memory"))
            most = memory["maxmemory"] or memory["total_system_memory"]
            self._has_room = memory["used_memory"] < MOST_MEMORY * most
            self._room_known_until = self._clock() + MEMORY_KNOWN_S
        return self._has_room

    async def release(self, key: CacheKey, token: str) -> None:
        try:
            await self._guard.ask(lambda: self._scripts.call(RELEASE, (_lock_of(key),), (token,)))
        except NoAnswer:
            return  # the lease ends by itself

    async def purge(self, scope: str) -> None:
        generation = new_generation()
        try:
            await self._guard.attempt(lambda: self._valkey.set(_generation_of(scope), generation, ex=LONGEST_TTL_S))
        except NoAnswer:
            raise Unavailable("Cached answers cannot be purged now: Valkey does not answer.") from None
        self._remember(scope, generation)
        self._count("purged")

    async def aclose(self) -> None:
        await self._scripts.aclose()

    async def _call(self, script: Script, key: CacheKey, *arguments: bytes | str | int) -> Any:
        keys = (_generation_of(key.scope), _answer_of(key), _lock_of(key))
        return await self._guard.ask(lambda: self._scripts.call(script, keys, arguments))

    def _remember(self, scope: str, generation: bytes) -> None:
        if len(self._generations) >= MAX_GENERATIONS:
            self._generations.clear()
        if generation:
            self._generations[scope] = generation


def _generation_of(scope: str) -> str:
    return f"cache:{{{scope}}}:generation"


def _answer_of(key: CacheKey) -> str:
    return f"cache:{{{key.scope}}}:{key.digest}"


def _lock_of(key: CacheKey) -> str:
    return f"cache:{{{key.scope}}}:{key.digest}:lock"
