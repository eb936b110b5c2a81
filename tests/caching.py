"""Cached answers and where they are kept: makers, and a cache and an index in memory."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import mul
from string import ascii_lowercase
from typing import Any

import msgspec

from api.auth import Caller
from api.similar_answers import Embedding
from domain.pricing import Tokens
from domain.response_cache import CachedAnswer, CacheKey, Looked, cache_key
from domain.semantic_cache import NearQuestion, SemanticPlace
from domain.upstream import Endpoint

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SEALING_KEY = bytes(range(32))


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def move(self, seconds: float) -> None:
        self.seconds += seconds

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)


class Outcomes:
    """What was counted."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def __call__(self, outcome: str) -> None:
        self.seen[outcome] += 1


async def until(holds: Callable[[], bool]) -> None:
    """Let others go on until it holds; a failure when it does not for a long time."""
    async with asyncio.timeout(20):
        while True:
            if holds():
                return
            await asyncio.sleep(0)


def members_of(**members: Any) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in members.items()}


def key_of(
    scope: str = "acc_1",
    endpoint: Endpoint = "chat.completions",
    model: str = "openai/gpt",
    stream: bool = False,
    **members: Any,
) -> CacheKey:
    key = cache_key(scope, endpoint, model, stream, members_of(**members))
    assert key is not None
    return key


def an_answer(body: bytes = b'{"id":"1"}', *, is_stream: bool = False, at: datetime = NOON) -> CachedAnswer:
    return CachedAnswer(
        endpoint="chat.completions",
        model="gpt",
        provider="openai",
        is_stream=is_stream,
        body=body,
        closing=b"data: [DONE]\n\n" if is_stream else b"",
        finish_reason="stop",
        tokens=Tokens(input=3, output=5),
        usage=b'{"prompt_tokens": 3}',
        stored_at=at,
    )


class Found:
    """To be awaited, or left."""

    def __init__(self, looked: Looked) -> None:
        self._looked = looked

    def __await__(self) -> Generator[None, None, Looked]:
        yield from asyncio.sleep(0).__await__()
        return self._looked


MARK = b"never purged"


class InMemoryResponseCache:
    """Keeps all for ever. While it is not `is_asked`, it is for tests to leave it alone. `leads` are tokens by key;
    `kept_for` the times to live, in turn."""

    def __init__(self) -> None:
        self.is_asked = True
        self.answers: dict[CacheKey, CachedAnswer] = {}
        self.leads: dict[CacheKey, str] = {}
        self.kept_for: list[int] = []

    def look(
        self, key: CacheKey, token: str = "", max_age_s: int | None = None, *, may_read: bool = True
    ) -> Awaitable[Looked]:
        answer = self.answers.get(key) if may_read else None
        leads = bool(token) and answer is None and self.leads.setdefault(key, token) == token
        return Found(Looked(answer, leads, MARK))

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
        self.answers[key] = answer
        self.kept_for.append(ttl_s)
        self.release(key, token)
        if kept is not None:
            kept()
        return True

    def release(self, key: CacheKey, token: str) -> None:
        if self.leads.get(key) == token:
            del self.leads[key]

    async def purge(self, scope: str) -> None:
        self.answers = {key: answer for key, answer in self.answers.items() if key.scope != scope}


class InMemorySemanticIndex:
    """Compares with all there are."""

    def __init__(self) -> None:
        self.can_compare = True
        self.questions: dict[SemanticPlace, dict[str, Sequence[float]]] = {}

    async def nearest(self, place: SemanticPlace, vector: Sequence[float], threshold: float) -> NearQuestion | None:
        found = [NearQuestion(*each) for each in self._similarities(place, vector) if each[1] >= threshold]
        return max(found, key=lambda near: near.similarity, default=None)

    def _similarities(self, place: SemanticPlace, vector: Sequence[float]) -> Iterator[tuple[str, float]]:
        for digest, other in self.questions.get(place, {}).items():
            yield digest, sum(map(mul, vector, other)) / (math.hypot(*vector) * math.hypot(*other))

    async def add(self, place: SemanticPlace, vector: Sequence[float], digest: str, ttl_s: int) -> None:
        self.questions.setdefault(place, {})[digest] = vector

    async def purge(self, scope: str) -> None:
        self.questions = {place: those for place, those in self.questions.items() if place.scope != scope}


class LetterEmbedder:
    """Texts are near that have the same letters. Makes nothing while it `is_down`; `asked` are the texts so far."""

    def __init__(self) -> None:
        self.is_down = False
        self.model = "embed"
        self.asked: list[str] = []

    async def embed(self, text: str, model: str, caller: Caller) -> Embedding | None:
        self.asked.append(text)
        await asyncio.sleep(0)
        vector = [float(text.lower().count(letter)) for letter in ascii_lowercase]
        return None if self.is_down else Embedding(self.model, vector)
