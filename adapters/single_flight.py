"""Of those who ask the same at the same time one asks the provider, the others get its answer from the cache.

In this process the first is the leader, and when it fails the next in line is. It looks for a kept answer; where there
is none the cache says which worker leads, and the others look again now and then. Followers of a stream wait for its
end as well: what is handed on is a whole answer, charged and stored, never one that may yet be cut. All waits end at a
deadline, from where everybody asks alone.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import msgspec

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
    """`answer` is the one to serve, found elsewhere; None: ask the provider. If that went well, set `answer` before the
    turn ends, so that all who wait get it; and once the cache has kept it for `token`, take `token` away."""

    answer: CachedAnswer | None = None
    token: str = ""

    @property
    def must_ask(self) -> bool:
        return self.answer is None


class SingleFlight:
    """Of one event loop. `new_token` makes a word that no other turn of any worker has."""

    def __init__(self, cache: ResponseCache, new_token: Callable[[], str], bounds: FlightBounds = USUAL_BOUNDS) -> None:
        self._cache = cache
        self._new_token = new_token
        self._bounds = bounds
        self._lines: dict[Want, Line] = {}

    @asynccontextmanager
    async def turn(self, key: CacheKey, *, wait_s: float, max_age_s: int | None = None) -> AsyncGenerator[Turn]:
        """Others wait while it is open and must ask; so end it as soon as the answer is kept. Nobody waits until an
        answer that was found has been served.

        A turn that ends without an answer, or by any exception, makes the next one in line the leader.
        """
        deadline = asyncio.get_running_loop().time() + wait_s
        want = (key, max_age_s)
        leads, answer = await self._line_up(want, deadline)
        turn = Turn(answer)
        if leads:
            turn.token = self._new_token()
            try:
                answer = turn.answer = await self._look(key, turn, deadline, max_age_s)
                if answer is None:
                    yield turn
            finally:
                try:
                    if turn.token:
                        await self._cache.release(key, turn.token)
                finally:
                    self._hand_on(want, turn.answer)
        if not leads or answer is not None:
            yield turn

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

    async def _look(self, key: CacheKey, turn: Turn, deadline: float, max_age_s: int | None) -> CachedAnswer | None:
        """None once no other worker asks, or at the deadline; else what is kept."""
        loop, pause_s = asyncio.get_running_loop(), self._bounds.first_poll_s
        while True:
            looked = await self._cache.get_or_lead(key, turn.token, max_age_s)
            if looked.leads:
                return None
            if looked.answer is not None or loop.time() + pause_s > deadline:
                turn.token = ""
                return looked.answer
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_POLL_S)
