"""Cached answers in Valkey: sealed, each with an end; one round trip to look, one to keep.

Short answers travel with the limits, on the connection that all share; a long one has a way of its own, lest it hold up
what others wait for. A generation that is lost, evicted for instance, takes its answers with it, and never brings any
back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from datetime import datetime
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.answer_sealing import new_generation, open_answer, seal_answer
from adapters.cache_guard import NoAnswer
from adapters.response_cache_scripts import KEEP, LOOK, RELEASE, Way, generation_of, lock_of
from adapters.sealing import SealBroken
from adapters.valkey_scripts import ScriptCall, ValkeyAway
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
SHORT_BYTES = 8_192
"""Sealed. A full batch of them is 2 MB."""
ANY_LENGTH = 2 * LARGEST_ANSWER_BYTES
UNSURE_BYTES = 4 * LARGEST_ANSWER_BYTES
"""May be kept while it is being found out how much room there is by now."""
MAX_SCOPES = 10_000
"""Of which it is known that they have a generation."""
NOTHING_KNOWN = Looked(None, leads=True)


class ValkeyResponseCache:
    """Supplies `ResponseCache`. `clock` is monotonic seconds; `count` is told one outcome of every call, beside what
    the guard counts: `hit`, `miss`, `too_old`, `unreadable`; `stored`, `too_large`, `full`, `purged_meanwhile`;
    `purged`. A mark is the scope's generation. Close the ways after it."""

    def __init__(
        self,
        valkey: Redis,
        short: Way,
        long: Way,
        sealing_key: bytes,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        count: Callable[[str], None],
    ) -> None:
        self._valkey = valkey
        self._short = short
        self._long = long
        self._sealing_key = sealing_key
        self._now = now
        self._clock = clock
        self._count = count
        self._begun: dict[str, None] = {}
        self._room_bytes = UNSURE_BYTES
        self._room_known_until = 0.0
        self._measuring: asyncio.Task[None] | None = None

    @property
    def is_asked(self) -> bool:
        return self._short.guard.would_try

    def look(
        self, key: CacheKey, token: str = "", max_age_s: int | None = None, *, may_read: bool = True
    ) -> Awaitable[Looked]:
        look = _Look(self, key, token, max_age_s, may_read=may_read)
        look.call = self._look(look, READ if may_read else ONLY_MARK, self._short, SHORT_BYTES)
        return look

    def put(
        self,
        key: CacheKey,
        answer: CachedAnswer,
        ttl_s: int,
        mark: bytes | None,
        token: str = "",
        kept: Callable[[], None] | None = None,
    ) -> bool:
        if not mark:
            return False
        if answer.size_bytes > LARGEST_ANSWER_BYTES:
            self._count("too_large")
            return False
        sealed = seal_answer(self._sealing_key, key, mark, answer)
        if not self._takes(len(sealed)):
            self._count("full")
            return False

        def heard(reply: object) -> None:
            if reply == 1:
                self._count("stored")
                if kept is not None:
                    kept()
                return
            if not isinstance(reply, ValkeyAway):
                self._count("purged_meanwhile")
            if token:
                self.release(key, token)

        way = self._short if len(sealed) <= SHORT_BYTES else self._long
        arguments = (token, sealed, mark, max(1, min(ttl_s, LONGEST_TTL_S)), LONGEST_TTL_S)
        return way.call(KEEP, key, arguments, heard) is not None

    def release(self, key: CacheKey, token: str) -> None:
        """Where it is not heard, the lease ends by itself."""
        self._short.scripts.call(RELEASE, (lock_of(key),), (token,))

    async def purge(self, scope: str) -> None:
        generation, guard = new_generation(), self._short.guard
        try:
            await guard.attempt(lambda: self._valkey.set(generation_of(scope), generation, ex=LONGEST_TTL_S))
        except NoAnswer:
            raise Unavailable("Cached answers cannot be purged now: Valkey does not answer.") from None
        self._count("purged")

    async def measure(self) -> None:
        """How much room there is."""
        try:
            memory = await self._short.guard.attempt(lambda: self._valkey.info("memory"))
        except NoAnswer:
            return
        most = memory["maxmemory"] or memory["total_system_memory"]
        self._room_bytes = max(0, int(MOST_MEMORY * most) - memory["used_memory"])

    async def aclose(self) -> None:
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.wait({self._measuring})

    async def heard(self, look: "_Look") -> Looked:
        """What a look has found."""
        if look.call is None:
            return NOTHING_KNOWN
        try:
            generation, sealed, leads, is_long = await look.call
            self._remember(look.key.scope, generation)
            if is_long and (call := self._look(look, READ, self._long, ANY_LENGTH)):
                generation, sealed, leads, is_long = await call
            answer = self._opened(look, generation, sealed)
            if answer is None and (sealed or is_long) and look.token:  # there is one, but it will not do, or not now
                if (call := self._look(look, ONLY_MARK, self._short, SHORT_BYTES)) is None:
                    return NOTHING_KNOWN
                generation, _, leads, _ = await call
        except ValkeyAway:
            return NOTHING_KNOWN
        return Looked(answer, leads=bool(leads), mark=generation)

    def _look(self, look: "_Look", what: int, way: Way, longest_bytes: int) -> ScriptCall | None:
        """A scope that is new here is given a generation, if it has none."""
        begin = b"" if look.key.scope in self._begun else new_generation()
        return way.call(LOOK, look.key, (look.token, LEASE_MS, what, begin, LONGEST_TTL_S, longest_bytes))

    def _remember(self, scope: str, generation: bytes) -> None:
        if not generation:
            self._begun.pop(scope, None)
        elif scope not in self._begun:
            if len(self._begun) >= MAX_SCOPES:
                self._begun.clear()
            self._begun[scope] = None

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

    def _takes(self, size_bytes: int) -> bool:
        """Out of the room there was a second ago. What is known from longer ago is good for a little only."""
        if self._clock() >= self._room_known_until and (self._measuring is None or self._measuring.done()):
            self._room_known_until = self._clock() + MEMORY_KNOWN_S
            self._room_bytes = min(self._room_bytes, UNSURE_BYTES)
            self._measuring = asyncio.create_task(self.measure())
        if size_bytes > self._room_bytes:
            return False
        self._room_bytes -= size_bytes
        return True


class _Look:
    """One that is on its way."""

    __slots__ = ("_cache", "call", "key", "max_age_s", "may_read", "token")

    def __init__(
        self,
        cache: ValkeyResponseCache,
        key: CacheKey,
        token: str,
        max_age_s: int | None,
        *,
        may_read: bool,
    ) -> None:
        self._cache = cache
        self.key = key
        self.token = token
        self.max_age_s = max_age_s
        self.call: ScriptCall | None = None
        self.may_read = may_read

    def __await__(self) -> Generator[Any, Any, Looked]:
        return self._cache.heard(self).__await__()
