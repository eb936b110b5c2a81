"""The response cache around one AI request: an earlier answer instead of a new one, or a new one kept for later.

A hit is a request like any other, admitted and ended on the log, but nobody is asked, and it costs nothing.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec

from adapters.single_flight import SingleFlight, Turn
from commands.answer_request import AnswerRequest
from domain.cache_control import Directive, parse_cache_control
from domain.pricing import Price, Rates, Tokens
from domain.response_cache import CachedAnswer, CacheKey, CachePolicy, ResponseCache, StreamTape, answer_of, cache_key
from domain.upstream import Reply, ReplyPiece, Usage

LONGEST_WAIT_S = 30.0
"""For somebody else who asks the same just now."""
_BEGINNING = datetime.fromtimestamp(0, UTC)
FREE = Price("cache_hit", _BEGINNING, _BEGINNING, Rates())
"""What a hit costs, and the mark by which the books know one."""
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
    """What the cache has to do with one request; `status` is what `x-agg-cache` says."""

    status = b"bypass"

    def applied(self, command: AnswerRequest) -> AnswerRequest:
        """The same request, or one that an earlier answer is enough for."""
        return command

    def pass_by(self, piece: ReplyPiece) -> None:
        """Part of a stream, on its way to the client."""

    async def keep(self, reply: Reply | None) -> None:
        """The answer, a stream when None, went well and is charged."""


BYPASS = CacheTurn()


class _Hit(CacheTurn):
    status = b"hit"

    def __init__(self, answer: CachedAnswer) -> None:
        self._answer = answer

    def applied(self, command: AnswerRequest) -> AnswerRequest:
        return msgspec.structs.replace(command, price=FREE, route=None, kept=CachedCall(self._answer))


class _Miss(CacheTurn):
    status = b"miss"

    def __init__(
        self, cache: ResponseCache, policy: CachePolicy, key: CacheKey, command: AnswerRequest, turn: Turn | None
    ) -> None:
        self._cache = cache
        self._policy = policy
        self._key = key
        self._command = command
        self._turn = turn
        self._tape = StreamTape(policy.max_bytes)

    def pass_by(self, piece: ReplyPiece) -> None:
        self._tape.add(piece)

    async def keep(self, reply: Reply | None) -> None:
        endpoint, provider, at = self._command.call.endpoint, self._command.model.provider, datetime.now(UTC)
        answer = (
            self._tape.answer(endpoint, provider, at) if reply is None else answer_of(reply, endpoint, provider, at)
        )
        if answer is None or answer.size_bytes > self._policy.max_bytes:
            return
        await self._cache.put(self._key, answer, self._policy.ttl_s)
        if self._turn is not None:
            self._turn.answer = answer


class AnswerCache:
    """`policy_of` is what a route, by the name that was asked for, says of caching; None: nothing is cached."""

    def __init__(
        self, cache: ResponseCache, flights: SingleFlight, policy_of: Callable[[str], CachePolicy | None]
    ) -> None:
        self._cache = cache
        self._flights = flights
        self._policy_of = policy_of

    async def purge(self, scope: str) -> None:
        """Nothing that was kept for an account, or `SHARED`, is given again. Raises Unavailable when not certain."""
        await self._cache.purge(scope)

    def policy_of(self, asked_for: str) -> CachePolicy | None:
        return self._policy_of(asked_for)

    @asynccontextmanager
    async def turn(
        self, asked_for: str, policy: CachePolicy, command: AnswerRequest, headers: Mapping[bytes, bytes]
    ) -> AsyncGenerator[CacheTurn]:
        """Open until the answer has been given. A cache that is away is a miss."""
        directive = parse_cache_control(headers.get(b"cache-control"))
        key = _key(asked_for, command, policy)
        if key is None or not (directive.may_read or directive.may_store):
            yield BYPASS
        elif not directive.may_read:
            yield _Miss(self._cache, policy, key, command, None)
        else:
            async with self._found(key, policy, command, directive) as found:
                yield found

    @asynccontextmanager
    async def _found(
        self, key: CacheKey, policy: CachePolicy, command: AnswerRequest, directive: Directive
    ) -> AsyncGenerator[CacheTurn]:
        answer = await self._cache.get(key, directive.max_age_s)
        if answer is not None:
            yield _Hit(answer)
            return
        async with self._flights.turn(key, wait_s=LONGEST_WAIT_S, max_age_s=directive.max_age_s) as turn:
            yield _Miss(self._cache, policy, key, command, turn) if turn.answer is None else _Hit(turn.answer)


def _key(asked_for: str, command: AnswerRequest, policy: CachePolicy) -> CacheKey | None:
    """What may leave parameters out is not cached: the same request without that leave would have been refused."""
    call = command.call
    if call.drop_params:
        return None
    return cache_key(policy.scope_of(command.account_id), call.endpoint, asked_for, call.stream, call.members)
