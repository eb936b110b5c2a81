"""The response cache around one AI request: an earlier answer instead of a new one, or a new one kept for later.

On routes that compare questions the answer to a similar one will do.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec

from adapters.dialects.dialect import ClientRequest
from adapters.single_flight import SingleFlight, Turn
from api.auth import Caller
from api.cache_keys import CacheKeys
from api.similar_answers import CacheQuery, Compared, SimilarAnswers
from commands.running import Running
from domain.cache_control import parse_cache_control
from domain.ids import RequestId
from domain.response_cache import CachedAnswer, CachePolicy, ResponseCache, StreamTape, answer_of
from domain.upstream import Reply, ReplyPiece

LONGEST_WAIT_S = 30.0
"""For somebody else who asks the same just now."""

Headers = Sequence[tuple[bytes, bytes]]
BYPASSED: Headers = ((b"x-agg-cache", b"bypass"),)
MISSED: Headers = ((b"x-agg-cache", b"miss"),)
HIT: Headers = ((b"x-agg-cache", b"hit"),)


class Came(msgspec.Struct, frozen=True):
    """A request as it came."""

    request_id: RequestId
    headers: Mapping[bytes, bytes]
    body: bytes


class CacheTurn:
    """What the cache has to do with one request; here nothing. To be ended, whatever comes of it.

    `headers` are told with the answer; `answer` is an earlier one that is enough, with the `policy` of its route.
    """

    headers: Headers = BYPASSED
    answer: CachedAnswer | None = None
    policy: CachePolicy | None = None

    async def is_clear(self) -> bool:
        """Whether it is clear at once, or after one look, if there is an `answer`; else `wait`."""
        return True

    async def wait(self) -> None:
        """Until it is clear. A cache that is away is a miss."""

    def pass_by(self, piece: ReplyPiece) -> None:
        """Part of a stream, on its way to the client."""

    def keep(self, reply: Reply | None, running: Running) -> None:
        """The answer, a stream when None, went well and is charged. Whoever waits for it has it now."""

    def end(self) -> None:
        """As often as you like."""


BYPASS = CacheTurn()


class _AskedTurn(CacheTurn):
    """`flight` is where it stands among those who ask the same; `compares`: a similar question's answer will do."""

    headers = MISSED

    def __init__(
        self, cache: ResponseCache, similar: SimilarAnswers, query: CacheQuery, flight: Turn, *, compares: bool
    ) -> None:
        self._cache = cache
        self._similar = similar
        self._query = query
        self._flight = flight
        self._compares = compares
        self._has_looked = False
        self._compared: Compared | None = None
        self._tape: StreamTape | None = None
        self.policy = query.policy

    async def is_clear(self) -> bool:
        """Comparing takes a while."""
        self._has_looked = await self._flight.is_clear()
        return self._has_looked and (self._found() or not self._compares)

    async def wait(self) -> None:
        """Of those who ask the same at once, one compares; and nobody waits until another's hit has been read."""
        flight = self._flight
        if not self._has_looked:
            await flight.wait(LONGEST_WAIT_S)
        if flight.answer is None and self._compares:
            self._compared = compared = await self._similar.compare(self._query, flight.mark)
            if compared is not None and compared.answer is not None:
                flight.answered(compared.answer)
        self._found()

    def _found(self) -> bool:
        self.answer = answer = self._flight.answer
        if answer is None:
            return False
        self.headers = HIT
        if answer.similarity is not None:
            self.headers = (*HIT, (b"x-agg-cache-similarity", b"%.4f" % answer.similarity))
        return True

    def pass_by(self, piece: ReplyPiece) -> None:
        if self._tape is None:
            self._tape = StreamTape(self._query.policy.max_bytes)
        self._tape.add(piece)

    def keep(self, reply: Reply | None, running: Running) -> None:
        query, flight = self._query, self._flight
        answer = self._answer(reply, running)
        if answer is None or answer.size_bytes > query.policy.max_bytes:
            return
        kept = self._compared and partial(self._similar.remember, self._compared, query)
        if self._cache.put(query.key, answer, query.policy.ttl_s, flight.mark, flight.token, kept):
            flight.token = ""
        flight.answered(answer)

    def _answer(self, reply: Reply | None, running: Running) -> CachedAnswer | None:
        by, endpoint, now = running.candidate, self._query.request.endpoint, datetime.now(UTC)
        name, cost = by.model.model, running.end.cost_nanos if running.end else 0
        if reply is not None:
            return answer_of(reply, endpoint, by.provider, now, catalogue_model=name, cost_nanos=cost)
        tape = self._tape
        return tape and tape.answer(endpoint, by.provider, now, catalogue_model=name, cost_nanos=cost)

    def end(self) -> None:
        self._flight.end()


class AnswerCache:
    """`policy_of` is what a route, by the name that was asked for, says of caching; None: nothing is cached."""

    def __init__(
        self,
        cache: ResponseCache,
        flights: SingleFlight,
        similar: SimilarAnswers,
        policy_of: Callable[[str], CachePolicy | None],
    ) -> None:
        self._cache = cache
        self._flights = flights
        self._similar = similar
        self._policy_of = policy_of
        self._keys = CacheKeys()

    async def purge(self, scope: str) -> None:
        """Nothing that was kept for an account, or `SHARED`, is given again. Raises Unavailable when not certain."""
        await self._cache.purge(scope)
        await self._similar.purge(scope)

    def turn(self, caller: Caller, request: ClientRequest, came: Came) -> CacheTurn:
        """Begun: a look into the cache is on its way when this returns."""
        policy = self._policy_of(request.model)
        if policy is None:
            return BYPASS
        directive = parse_cache_control(came.headers.get(b"cache-control"))
        key = self._keys.of(policy.scope_of(caller.account_id), request, came.body)
        if key is None or not (directive.may_read or directive.may_store):
            return BYPASS
        query = CacheQuery(key, policy, caller, request, directive.max_age_s)
        if not directive.may_read:
            return _AskedTurn(self._cache, self._similar, query, self._flights.blind(key), compares=False)
        flight, compares = self._flights.turn(key, came.request_id, query.max_age_s), policy.semantic is not None
        return _AskedTurn(self._cache, self._similar, query, flight, compares=compares)
