"""The answer to nearly the same question: the response cache by meaning, for routes that ask for it.

The text is embedded by a model, at the cost of who asks, and compared with those whose answers were kept. Whatever
cannot be had for that in time, or at all, makes it a question like no other: it is answered as if there were no
comparing.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from adapters.dialects.dialect import ClientRequest
from api.auth import Caller
from domain.canonical_json import digest
from domain.response_cache import CachedAnswer, CacheKey, CachePolicy, ResponseCache, asked
from domain.semantic_cache import NearQuestion, SemanticIndex, SemanticPlace, split_question

MOST_REMEMBERED_AT_ONCE = 1_000
CLOSE_S = 2.0


class CacheQuery(msgspec.Struct, frozen=True):
    """What one request wants of the cache, as `key` and in its own words; an answer not older than `max_age_s`."""

    key: CacheKey
    policy: CachePolicy
    caller: Caller
    request: ClientRequest
    max_age_s: int | None


class Embedding(msgspec.Struct, frozen=True):
    """`model` is the one that made it."""

    model: str
    vector: Sequence[float]


class Embedder(Protocol):
    async def embed(self, text: str, model: str, caller: Caller) -> Embedding | None:
        """By a model or route of this name, on the caller's account. None when it cannot be had soon."""
        ...


class Compared(msgspec.Struct, frozen=True):
    """Where a question stands among others, and the answer to one that is near enough."""

    place: SemanticPlace
    vector: Sequence[float]
    answer: CachedAnswer | None


class SimilarAnswers:
    def __init__(
        self, cache: ResponseCache, index: SemanticIndex, embedder: Embedder, now: Callable[[], datetime]
    ) -> None:
        self._cache = cache
        self._index = index
        self._embedder = embedder
        self._now = now
        self._remembering: set[asyncio.Task[None]] = set()

    async def compare(self, query: CacheQuery, mark: bytes | None) -> Compared | None:
        """None for what is not compared at all, or not now: no embedding is paid for in vain. Never fails."""
        semantic = query.policy.semantic
        if semantic is None or not (self._index.can_compare and self._cache.is_asked):
            return None
        request = query.request
        question = split_question(asked(request.endpoint, request.model, request.stream, request.members))
        if question is None:
            return None
        embedding = await self._embedder.embed(question.text, semantic.embedding_model, query.caller)
        if embedding is None:
            return None
        place = SemanticPlace(query.key.scope, digest(question.rest), embedding.model)
        near = await self._index.nearest(place, embedding.vector, semantic.threshold)
        return Compared(place, embedding.vector, near and await self._answer_to(near, query, mark))

    async def _answer_to(self, near: NearQuestion, query: CacheQuery, mark: bytes | None) -> CachedAnswer | None:
        """None when it has ended or was purged since. From now on it is this question's own answer as well, for as long
        as it lasts: whoever asks again needs no embedding."""
        key = CacheKey(query.key.scope, near.digest)
        kept = (await self._cache.look(key, max_age_s=query.max_age_s)).answer
        if kept is None or key == query.key:
            return kept
        answer = msgspec.structs.replace(kept, similarity=near.similarity)
        left_s = query.policy.ttl_s - int((self._now() - kept.stored_at).total_seconds())
        if left_s > 0:
            self._cache.put(query.key, answer, left_s, mark)
        return answer

    def remember(self, compared: Compared, query: CacheQuery) -> None:
        """That the answer to this question is kept. Nobody waits for it."""
        if len(self._remembering) < MOST_REMEMBERED_AT_ONCE:
            add = self._index.add(compared.place, compared.vector, query.key.digest, query.policy.ttl_s)
            task = asyncio.create_task(add)
            self._remembering.add(task)
            task.add_done_callback(self._remembering.discard)

    async def close(self) -> None:
        if self._remembering:
            await asyncio.wait(self._remembering, timeout=CLOSE_S)

    async def purge(self, scope: str) -> None:
        """Raises Unavailable."""
        await self._index.purge(scope)
