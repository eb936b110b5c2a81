"""The response cache around one AI request: an earlier answer instead of a new one, or a new one kept for later.

A hit is a request like any other, admitted and ended on the log, but nobody is asked, and it costs nothing. On routes
that compare questions the answer to a similar one will do.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec

from adapters.single_flight import SingleFlight, Turn
from api.similar_answers import CacheQuery, Compared, SimilarAnswers
from commands.answer_request import AnswerRequest
from domain.cache_control import parse_cache_control
from domain.pricing import Price, Rates, Tokens
from domain.response_cache import CachedAnswer, CachePolicy, ResponseCache, StreamTape, answer_of, cache_key
from domain.upstream import Reply, ReplyPiece, Usage

LONGEST_WAIT_S = 30.0
"""For somebody else who asks the same just now."""
_BEGINNING = datetime.fromtimestamp(0, UTC)
FREE = Price("cache_hit", _BEGINNING, _BEGINNING, Rates())
"""What a hit costs, and the mark by which the books know one."""
FREE_SIMILAR = Price("semantic_cache_hit", _BEGINNING, _BEGINNING, Rates())
"""The same for the answer to another question."""
NOTHING_USED = Usage(msgspec.Raw(b"null"), Tokens())


class CachedCall:
    """An answer that is there already, given as a provider would give it."""

    dropped: Sequence[str] = ()

    def __init__(self, answer: CachedAnswer) -> None:
        self._answer = answer

    async def complete(self) -> Reply:
        answer = self._answer
        return Reply(answer.body, answer.model, answer.finish_reason, NOTHING_USED, 0)

    async def stream(self) -> AsyncIterator[ReplyPiece]:
        answer = self._answer
        yield ReplyPiece(
            answer.body,
            model=answer.model,
            finish_reason=answer.finish_reason,
            usage=NOTHING_USED,
            closing=answer.closing,
        )


class CacheTurn:
    """What the cache has to do with one request; `headers` are told with its answer."""

    headers: Sequence[tuple[bytes, bytes]] = ((b"x-agg-cache", b"bypass"),)

    def applied(self, command: AnswerRequest) -> AnswerRequest:
        """The same request, or one that an earlier answer is enough for."""
        return command

    def pass_by(self, piece: ReplyPiece) -> None:
        """Part of a stream, on its way to the client."""

    async def keep(self, reply: Reply | None) -> None:
        """The answer, a stream when None, went well and is charged."""


BYPASS = CacheTurn()


class _Hit(CacheTurn):
    headers = ((b"x-agg-cache", b"hit"),)

    def __init__(self, answer: CachedAnswer) -> None:
        self._answer = answer
        if answer.similarity is not None:
            self.headers = (*self.headers, (b"x-agg-cache-similarity", b"%.4f" % answer.similarity))

    def applied(self, command: AnswerRequest) -> AnswerRequest:
        price = FREE if self._answer.similarity is None else FREE_SIMILAR
        return msgspec.structs.replace(command, price=price, route=None, kept=CachedCall(self._answer))


class _Miss(CacheTurn):
    """`turn` is that of whoever others wait for; `compared` is where the question stands among similar ones."""

    headers = ((b"x-agg-cache", b"miss"),)

    def __init__(
        self,
        cache: ResponseCache,
        similar: SimilarAnswers,
        query: CacheQuery,
        turn: Turn | None = None,
        compared: Compared | None = None,
    ) -> None:
        self._cache = cache
        self._similar = similar
        self._query = query
        self._turn = turn
        self._compared = compared
        self._tape = StreamTape(query.policy.max_bytes)

    def pass_by(self, piece: ReplyPiece) -> None:
        self._tape.add(piece)

    async def keep(self, reply: Reply | None) -> None:
        query = self._query
        endpoint, provider, at = query.command.call.endpoint, query.command.model.provider, datetime.now(UTC)
        answer = (
            self._tape.answer(endpoint, provider, at) if reply is None else answer_of(reply, endpoint, provider, at)
        )
        if answer is None or answer.size_bytes > query.policy.max_bytes:
            return
        turn = self._turn
        is_kept = await self._cache.put(query.key, answer, query.policy.ttl_s, turn.token if turn else "")
        if turn is not None:
            turn.answer = answer
            turn.token = "" if is_kept else turn.token
        if self._compared is not None and is_kept:
            await self._similar.remember(self._compared, query)


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

    async def purge(self, scope: str) -> None:
        """Nothing that was kept for an account, or `SHARED`, is given again. Raises Unavailable when not certain."""
        await self._cache.purge(scope)
        await self._similar.purge(scope)

    def policy_of(self, asked_for: str) -> CachePolicy | None:
        return self._policy_of(asked_for)

    @asynccontextmanager
    async def turn(
        self, asked_for: str, policy: CachePolicy, command: AnswerRequest, headers: Mapping[bytes, bytes]
    ) -> AsyncGenerator[CacheTurn]:
        """Open until the answer has been given. A cache that is away is a miss."""
        directive = parse_cache_control(headers.get(b"cache-control"))
        query = _query(asked_for, policy, command, directive.max_age_s)
        if query is None or not (directive.may_read or directive.may_store):
            yield BYPASS
        elif not directive.may_read:
            yield _Miss(self._cache, self._similar, query)
        else:
            async with self._found(query) as found:
                yield found

    @asynccontextmanager
    async def _found(self, query: CacheQuery) -> AsyncGenerator[CacheTurn]:
        """Of those who ask the same at once, one compares; and nobody waits until another's hit has been read."""
        flight = self._flights.turn(query.key, wait_s=LONGEST_WAIT_S, max_age_s=query.max_age_s)
        async with flight as turn:
            compared = await self._similar.compare(query) if turn.must_ask else None
            if compared is not None and compared.answer is not None:
                turn.answer = compared.answer
            answer = turn.answer
            if answer is None:
                yield _Miss(self._cache, self._similar, query, turn, compared)
                return
        yield _Hit(answer)


def _query(asked_for: str, policy: CachePolicy, command: AnswerRequest, max_age_s: int | None) -> CacheQuery | None:
    """What may leave parameters out is not cached: the same request without that leave would have been refused."""
    call = command.call
    if call.drop_params:
        return None
    key = cache_key(policy.scope_of(command.account_id), call.endpoint, asked_for, call.stream, call.members)
    return None if key is None else CacheQuery(key, asked_for, policy, command, max_age_s)
