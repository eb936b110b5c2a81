"""Of those who ask the same at the same time one asks the provider, the others get its answer from the cache.

In this process the first is the leader, and when it fails the next in line is. It looks for a kept answer; where there
is none the cache says which worker leads, and the others look again now and then. Followers of a stream wait for its
end as well: what is handed on is a whole answer, charged and on its way to the cache, never one that may yet be cut.
All waits end at a deadline, from where everybody asks alone.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import TypeAlias

import msgspec

from domain.response_cache import CachedAnswer, CacheKey, Looked, ResponseCache

LONGEST_POLL_S = 0.25


Want: TypeAlias = tuple[CacheKey, int | None]
"""A key, and how old its answer may be: who wants a younger one does not take what was good enough for another."""
Place: TypeAlias = asyncio.Future[CachedAnswer | None]
"""In line: told the leader's answer, or None to lead."""
Line: TypeAlias = deque[Place]


class FlightBounds(msgspec.Struct, frozen=True, kw_only=True):
    """Who comes when all places are taken asks alone."""

    flights: int = 10_000
    followers: int = 1_000
    first_poll_s: float = 0.02


USUAL_BOUNDS = FlightBounds()


class SingleFlight:
    """Of one event loop."""

    def __init__(self, cache: ResponseCache, bounds: FlightBounds = USUAL_BOUNDS) -> None:
        self.cache = cache
        self.bounds = bounds
        self._lines: dict[Want, Line] = {}

    def __len__(self) -> int:
        """How many answers are waited for."""
        return len(self._lines)

    def turn(self, key: CacheKey, ident: str, max_age_s: int | None = None) -> "Turn":
        """Begun: a leader's look is on its way when this returns. End it, whatever comes of it. `ident` is a word that
        no other turn of any worker has."""
        turn, want = Turn(self, key, ident, max_age_s), (key, max_age_s)
        line = self._lines.get(want)
        if line is None and len(self._lines) < self.bounds.flights:
            self._lines[want] = deque()
            turn.lead()
        elif line is None or len(line) >= self.bounds.followers:
            turn.go_alone()
        else:
            turn.place = asyncio.get_running_loop().create_future()
            line.append(turn.place)
        return turn

    def blind(self, key: CacheKey) -> "Turn":
        """Of who takes no earlier answer: alone, and it looks for the mark only."""
        turn = Turn(self, key, "", None)
        turn.look_for_mark()
        return turn

    def leave(self, want: Want, place: Place) -> None:
        """Whoever was to lead just then passes it on."""
        line = self._lines.get(want, ())
        if place in line:
            self._lines[want].remove(place)
        elif not place.cancelled() and not place.exception() and place.result() is None:
            self.hand_on(want, None)

    def hand_on(self, want: Want, answer: CachedAnswer | None) -> None:
        """The leader's answer to all in line; without one the next of them leads. Who was cancelled just now waits no
        more."""
        line = self._lines[want]
        while line:
            place = line.popleft()
            if not place.done():
                place.set_result(answer)
                if answer is None:
                    return
        del self._lines[want]


class Turn:
    """One request's. When it is clear what to do, there is an `answer`, or the provider is to be asked; say with
    `answered` what came of that. A turn that ends without an answer makes the next one in line the leader.

    `token` is that of the lead among all workers, `mark` what the cache said when it was looked into.
    """

    __slots__ = ("_flights", "_ident", "_key", "_leads", "_look", "_max_age_s", "answer", "mark", "place", "token")

    def __init__(self, flights: SingleFlight, key: CacheKey, ident: str, max_age_s: int | None) -> None:
        self._flights = flights
        self._key = key
        self._ident = ident
        self._max_age_s = max_age_s
        self._leads = False
        self._look: Awaitable[Looked] | None = None
        self.place: Place | None = None
        self.answer: CachedAnswer | None = None
        self.mark: bytes | None = None
        self.token = ""

    async def is_clear(self) -> bool:
        """Whether it is clear at once, or after one look, what to do; else `wait`."""
        return self.place is None and await self._has_looked()

    async def wait(self, wait_s: float) -> None:
        """Until it is clear, or for `wait_s`. Others wait while it is open; so end it as soon as possible."""
        deadline = asyncio.get_running_loop().time() + wait_s
        if self.place is not None:
            await self._wait_in_line(self.place, deadline)
            if self.answer is not None or await self._has_looked():
                return
        await self._poll(deadline)

    def answered(self, answer: CachedAnswer) -> None:
        """All who wait get it now. Take `token` away before where the cache ends the lead with the answer."""
        self.answer = answer
        self.end()

    def end(self) -> None:
        """As often as you like."""
        want, place = (self._key, self._max_age_s), self.place
        self.place = None
        if place is not None:
            self._flights.leave(want, place)
        if self.token:
            self._flights.cache.release(self._key, self.token)
            self.token = ""
        if self._leads:
            self._leads = False
            self._flights.hand_on(want, self.answer)

    def lead(self) -> None:
        self._leads = True
        self.token = self._ident
        self._look = self._flights.cache.look(self._key, self.token, self._max_age_s)

    def go_alone(self) -> None:
        """Nobody waits for it, and it waits for nobody."""
        self._look = self._flights.cache.look(self._key, "", self._max_age_s)

    def look_for_mark(self) -> None:
        self._look = self._flights.cache.look(self._key, may_read=False)

    async def _has_looked(self) -> bool:
        assert self._look is not None, "who is not in line has begun to look"
        looked = await self._look
        self._look, self.mark = None, looked.mark
        if looked.answer is not None:
            self.token = ""
            self.answered(looked.answer)
        return looked.answer is not None or looked.leads or not self.token

    async def _wait_in_line(self, place: Place, deadline: float) -> None:
        timer = asyncio.get_running_loop().call_at(deadline, _give_up, place)
        try:
            self.answer = await place
        except TimeoutError:
            self.end()
            self.go_alone()
            return
        finally:
            timer.cancel()
        self.place = None
        if self.answer is None:
            self.lead()

    async def _poll(self, deadline: float) -> None:
        loop, pause_s = asyncio.get_running_loop(), self._flights.bounds.first_poll_s
        while loop.time() + pause_s <= deadline:
            await asyncio.sleep(pause_s)
            self._look = self._flights.cache.look(self._key, self.token, self._max_age_s)
            if await self._has_looked():
                return
            pause_s = min(2 * pause_s, LONGEST_POLL_S)
        self.token = ""


def _give_up(place: Place) -> None:
    if not place.done():
        place.set_exception(TimeoutError())
