"""Of those who ask the same at the same time one asks the provider, the others get its answer from the cache.

In this process the first is the leader, and when it fails the next in line is; among workers a lock in Valkey decides,
and who does not have it looks for the stored answer now and then. Followers of a stream wait for its end as well: what
is handed on is a whole answer, charged and stored, never one that may yet be cut. All waits end at a deadline, from
where everybody asks alone.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import msgspec

from adapters.flight_locks import FlightLocks
from domain.response_cache import CachedAnswer, CacheKey, ResponseCache

LONGEST_POLL_S = 0.25


Want: TypeAlias = tuple[CacheKey, int | None]
"""A key, and how old its answer may be: who wants a younger one does not take what was good enough for another."""
Place: TypeAlias = asyncio.Future[CachedAnswer | None]
Line: TypeAlias = deque[Place]


class FlightBounds(msgspec.Struct, frozen=True, kw_only=True):
    """Who comes when all places are taken asks alone."""

    flights: int = 10_000
    followers: int = 1_000
    first_poll_s: float = 0.02


USUAL_BOUNDS = FlightBounds()


class Turn(msgspec.Struct):
    """`answer` is the one to serve, found elsewhere; None: ask the provider. If that went well and the answer was
    stored (`ResponseCache.put` has returned), set `answer` before the turn ends, so that all who wait get it."""

    answer: CachedAnswer | None = None

    @property
    def must_ask(self) -> bool:
        return self.answer is None


class SingleFlight:
    """Of one event loop. `new_token` makes a word that no other turn of any worker has."""

    def __init__(
        self,
        cache: ResponseCache,
        locks: FlightLocks,
        new_token: Callable[[], str],
        bounds: FlightBounds = USUAL_BOUNDS,
    ) -> None:
        self._cache = cache
        self._locks = locks
        self._new_token = new_token
        self._bounds = bounds
        self._lines: dict[Want, Line] = {}

    @asynccontextmanager
    async def turn(self, key: CacheKey, *, wait_s: float, max_age_s: int | None = None) -> AsyncGenerator[Turn]:
        """After a miss. Others wait while it is open and its asker leads; so end it as soon as the answer is stored.

        A turn that ends without an answer, or by any exception, makes the next one in line the leader.
        """
        deadline = asyncio.get_running_loop().time() + wait_s
        want = (key, max_age_s)
        leads, answer = await self._line_up(want, deadline)
        if not leads:
            yield Turn(answer)
            return
        turn, token = Turn(), self._new_token()
        try:
            turn.answer = await self._lock(key, token, deadline, max_age_s)
            yield turn
        finally:
            try:
                await self._locks.release(key, token)
            finally:
                self._hand_on(want, turn.answer)

    async def _line_up(self, want: Want, deadline: float) -> tuple[bool, CachedAnswer | None]:
        """Whether we lead in this process, else the leader's answer, or None to ask without being waited for."""
        line = self._lines.get(want)
        if line is None:
            if len(self._lines) >= self._bounds.flights:
                return False, None
            self._lines[want] = deque()
            return True, None
        if len(line) >= self._bounds.followers:
            return False, None
        loop = asyncio.get_running_loop()
        place: Place = loop.create_future()
        line.append(place)
        try:
            await asyncio.wait((place,), timeout=deadline - loop.time())
        except asyncio.CancelledError:
            self._leave(want, line, place)
            raise
        if not place.done():
            line.remove(place)
            return False, None
        return place.result() is None, place.result()

    def _leave(self, want: Want, line: Line, place: Place) -> None:
        """Whoever was to lead and is cancelled at that moment passes it on."""
        if not place.done():
            line.remove(place)
        elif place.result() is None:
            self._hand_on(want, None)

    def _hand_on(self, want: Want, answer: CachedAnswer | None) -> None:
        line = self._lines[want]
        if answer is None and line:
            line.popleft().set_result(None)
            return
        del self._lines[want]
        for place in line:
            place.set_result(answer)

    async def _lock(self, key: CacheKey, token: str, deadline: float, max_age_s: int | None) -> CachedAnswer | None:
        """None once no other worker asks, or at the deadline; else what the other one stored.

        The cache is asked after the lock: an answer may have been stored between the caller's miss and now.
        """
        loop, pause_s = asyncio.get_running_loop(), self._bounds.first_poll_s
        while True:
            is_ours = await self._locks.take(key, token)
            answer = await self._cache.get(key, max_age_s)
            if answer is not None or is_ours or loop.time() + pause_s > deadline:
                return answer
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_POLL_S)
