"""Cached answers in Valkey: sealed, each with an end; one round trip to look, one to keep.

    cache:{<scope>}:generation     the secret under which the scope's answers are sealed; replacing it purges them all
    cache:{<scope>}:<digest>       a sealed answer
    cache:{<scope>}:<digest>:lock  the token of who asks for it just now

The braces keep what is read together on one node of a cluster. A generation that is lost, evicted for instance, takes
its answers with it, and never brings any back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from datetime import datetime
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.answer_sealing import new_generation, open_answer, seal_answer
from adapters.cache_guard import CacheGuard, NoAnswer
from adapters.sealing import SealBroken
from adapters.valkey_scripts import Arguments, BatchedScripts, Script, ScriptCall, ValkeyAway
from domain.errors import Unavailable
from domain.response_cache import LARGEST_ANSWER_BYTES, LONGEST_TTL_S, CachedAnswer, CacheKey, Looked

FAILURES = (ValkeyAway, RedisError, OSError, TimeoutError)
"""For the guard: what is raised when Valkey is broken."""
MOST_MEMORY = 0.75
"""Rate limits live in the same Valkey, and it refuses all writes once it is full: answers leave them the rest."""
MEMORY_KNOWN_S = 1.0
LEASE_MS = 60_000
"""A worker that died is waited for no longer; of two that overlap, the later answer is kept."""
READ, ONLY_MARK = 1, 0
NOTHING_KNOWN = Looked(None, leads=True)

# KEYS: generation, answer, lock. ARGV: token or '', its lease in ms, whether to read an answer.
# Answers {generation or '', sealed answer or '', 1 if the token leads}.
LOOK = Script("""
local generation = redis.call('GET', KEYS[1]) or ''
local sealed = ARGV[3] == '1' and generation ~= '' and redis.call('GET', KEYS[2]) or ''
if sealed ~= '' or ARGV[1] == '' then return {generation, sealed, 0} end
local holder = redis.call('GET', KEYS[3])
if not holder then redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2]) end
return {generation, '', (not holder or holder == ARGV[1]) and 1 or 0}
""")

# KEYS: the same. ARGV: token, the answer sealed, under which generation, ttl in s, the generation's ttl in s, whether
# there was none. Answers 1, or 0 when it is another one by now.
KEEP = Script("""
local generation = redis.call('GET', KEYS[1])
if generation == ARGV[3] then
    redis.call('EXPIRE', KEYS[1], ARGV[5])
elseif not generation and ARGV[6] == '1' then
    redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[5])
else
    return 0
end
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
    `purged`. A mark is the scope's generation, empty where there is none yet. Close the scripts after it."""

    def __init__(
        self,
        valkey: Redis,
        scripts: BatchedScripts,
        sealing_key: bytes,
        guard: CacheGuard,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        count: Callable[[str], None],
    ) -> None:
        self._valkey = valkey
        self._scripts = scripts
        self._sealing_key = sealing_key
        self._guard = guard
        self._now = now
        self._clock = clock
        self._count = count
        self._has_room = True
        self._room_known_until = 0.0
        self._measuring: asyncio.Task[None] | None = None

    @property
    def is_asked(self) -> bool:
        return self._guard.would_try

    def look(
        self, key: CacheKey, token: str = "", max_age_s: int | None = None, *, may_read: bool = True
    ) -> Awaitable[Looked]:
        call = self._call(LOOK, key, (token, LEASE_MS, READ if may_read else ONLY_MARK), self._hear)
        return _Look(self, key, token, max_age_s, call, may_read=may_read)

    def put(
        self,
        key: CacheKey,
        answer: CachedAnswer,
        ttl_s: int,
        mark: bytes | None,
        token: str = "",
        kept: Callable[[], None] | None = None,
    ) -> bool:
        if mark is None:
            return False
        if answer.size_bytes > LARGEST_ANSWER_BYTES:
            self._count("too_large")
            return False
        if not self._room():
            self._count("full")
            return False
        generation = mark or new_generation()
        sealed = seal_answer(self._sealing_key, key, generation, answer)
        ttl_s = max(1, min(ttl_s, LONGEST_TTL_S))

        def heard(reply: object) -> None:
            self._hear(reply)
            if reply == 1:
                self._count("stored")
                if kept is not None:
                    kept()
                return
            if not isinstance(reply, ValkeyAway):
                self._count("purged_meanwhile")
            if token:
                self.release(key, token)

        arguments = (token, sealed, generation, ttl_s, LONGEST_TTL_S, 0 if mark else 1)
        return self._call(KEEP, key, arguments, heard) is not None

    def release(self, key: CacheKey, token: str) -> None:
        """Where it is not heard, the lease ends by itself."""
        if self._guard.begin():
            self._scripts.call(RELEASE, (_lock_of(key),), (token,)).then(self._hear)

    async def purge(self, scope: str) -> None:
        generation = new_generation()
        try:
            await self._guard.attempt(lambda: self._valkey.set(_generation_of(scope), generation, ex=LONGEST_TTL_S))
        except NoAnswer:
            raise Unavailable("Cached answers cannot be purged now: Valkey does not answer.") from None
        self._count("purged")

    async def measure(self) -> None:
        """How full Valkey is."""
        try:
            memory = await self._guard.attempt(lambda: self._valkey.info("memory"))
        except NoAnswer:
            return
        most = memory["maxmemory"] or memory["total_system_memory"]
        self._has_room = memory["used_memory"] < MOST_MEMORY * most

    async def aclose(self) -> None:
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.wait({self._measuring})

    async def heard(self, look: "_Look") -> Looked:
        """What a look has found."""
        if look.call is None:
            return NOTHING_KNOWN
        try:
            generation, sealed, leads = await look.call
            answer = self._opened(look, generation, sealed)
            if answer is None and sealed and look.token:  # there is one, but it will not do
                again = self._call(LOOK, look.key, (look.token, LEASE_MS, ONLY_MARK), self._hear)
                if again is None:
                    return NOTHING_KNOWN
                generation, _, leads = await again
        except ValkeyAway:
            return NOTHING_KNOWN
        return Looked(answer, leads=bool(leads), mark=generation)

    def _opened(self, look: "_Look", generation: bytes, sealed: bytes) -> CachedAnswer | None:
        outcome, answer = "miss", None
        if sealed:
            try:
                outcome, answer = "hit", open_answer(self._sealing_key, look.key, generation, sealed)
            except SealBroken:
                outcome = "unreadable"
        if answer is not None and look.max_age_s is not None and self._age_s(answer) > look.max_age_s:
            outcome, answer = "too_old", None
        if look.may_read:
            self._count(outcome)
        return answer

    def _age_s(self, answer: CachedAnswer) -> float:
        return (self._now() - answer.stored_at).total_seconds()

    def _room(self) -> bool:
        """As of a second ago, or longer if nobody has kept anything since."""
        if self._clock() >= self._room_known_until and (self._measuring is None or self._measuring.done()):
            self._room_known_until = self._clock() + MEMORY_KNOWN_S
            self._measuring = asyncio.create_task(self.measure())
        return self._has_room

    def _call(
        self, script: Script, key: CacheKey, arguments: Arguments, heard: Callable[[object], None]
    ) -> ScriptCall | None:
        """On its way; None while nobody asks."""
        if not self._guard.begin():
            return None
        call = self._scripts.call(script, (_generation_of(key.scope), _answer_of(key), _lock_of(key)), arguments)
        call.then(heard)
        return call

    def _hear(self, reply: object) -> None:
        if isinstance(reply, ValkeyAway):
            self._guard.failed()
        else:
            self._guard.succeeded()


class _Look:
    """One that is on its way."""

    __slots__ = ("_cache", "call", "key", "max_age_s", "may_read", "token")

    def __init__(
        self,
        cache: ValkeyResponseCache,
        key: CacheKey,
        token: str,
        max_age_s: int | None,
        call: ScriptCall | None,
        *,
        may_read: bool,
    ) -> None:
        self._cache = cache
        self.key = key
        self.token = token
        self.max_age_s = max_age_s
        self.call = call
        self.may_read = may_read

    def __await__(self) -> Generator[Any, Any, Looked]:
        return self._cache.heard(self).__await__()


def _generation_of(scope: str) -> str:
    return f"cache:{{{scope}}}:generation"


def _answer_of(key: CacheKey) -> str:
    return f"cache:{{{key.scope}}}:{key.digest}"


def _lock_of(key: CacheKey) -> str:
    return f"cache:{{{key.scope}}}:{key.digest}:lock"
