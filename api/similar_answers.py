"""The answer to nearly the same question: the response cache by meaning, for routes that ask for it.

The text is embedded by a model, at the cost of who asks, and compared with those whose answers were kept. Whatever
cannot be had for that in time, or at all, makes it a question like no other: it is answered as if there were no
comparing.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from commands.answer_request import AnswerRequest
from domain.canonical_json import digest
from domain.response_cache import CachedAnswer, CacheKey, CachePolicy, ResponseCache, asked
from domain.semantic_cache import NearQuestion, SemanticIndex, SemanticPlace, split_question


class CacheQuery(msgspec.Struct, frozen=True):
    """What one request wants of the cache, as `key` and in its own words; an answer not older than `max_age_s`."""

    key: CacheKey
    asked_for: str
    policy: CachePolicy
    command: AnswerRequest
    max_age_s: int | None


class Embedding(msgspec.Struct, frozen=True):
    """`model` is the one that made it."""

    model: str
    vector: Sequence[float]


class Embedder(Protocol):
    async def embed(self, text: str, model: str, asking: AnswerRequest) -> Embedding | None:
        """By a model or route of this name, on the account of who is `asking`. None when it cannot be had soon."""
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

    async def compare(self, query: CacheQuery) -> Compared | None:
        """None for what is not compared at all, or not now: no embedding is paid for in vain. Never fails."""
        semantic = query.policy.semantic
        if semantic is None or not (self._index.can_compare and self._cache.is_asked):
            return None
        call = query.command.call
        question = split_question(asked(call.endpoint, query.asked_for, call.stream, call.members))
        if question is None:
            return None
        embedding = await self._embedder.embed(question.text, semantic.embedding_model, query.command)
        if embedding is None:
            return None
        place = SemanticPlace(query.key.scope, digest(question.rest), embedding.model)
        near = await self._index.nearest(place, embedding.vector, semantic.threshold)
        return Compared(place, embedding.vector, near and await self._answer_to(near, query))

    async def _answer_to(self, near: NearQuestion, query: CacheQuery) -> CachedAnswer | None:
        """None when it has ended or was purged since. From now on it is this question's own answer as well, for as long
        as it lasts: whoever asks again needs no embedding."""
        key = CacheKey(query.key.scope, near.digest)
        kept = await self._cache.get(key, query.max_age_s)
        if kept is None or key == query.key:
            return kept
        answer = msgspec.structs.replace(kept, similarity=near.similarity)
        left_s = query.policy.ttl_s - int((self._now() - kept.stored_at).total_seconds())
        if left_s > 0:
            await self._cache.put(query.key, answer, left_s)
        return answer

    async def remember(self, compared: Compared, query: CacheQuery) -> None:
        """That the answer to this question is kept."""
        await self._index.add(compared.place, compared.vector, query.key.digest, query.policy.ttl_s)

    async def purge(self, scope: str) -> None:
        """Raises Unavailable."""
        await self._index.purge(scope)
