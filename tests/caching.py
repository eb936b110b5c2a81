"""Cached answers and where they are kept: makers, and a cache and locks in memory."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from domain.pricing import Tokens
from domain.response_cache import CachedAnswer, CacheKey, cache_key
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


class InMemoryResponseCache:
    """Keeps all for ever."""

    def __init__(self) -> None:
        self.answers: dict[CacheKey, CachedAnswer] = {}

    async def get(self, key: CacheKey, max_age_s: int | None = None) -> CachedAnswer | None:
        return self.answers.get(key)

    async def put(self, key: CacheKey, answer: CachedAnswer, ttl_s: int) -> None:
        self.answers[key] = answer

    async def purge(self, scope: str) -> None:
        self.answers = {key: answer for key, answer in self.answers.items() if key.scope != scope}


class InMemoryFlightLocks:
    def __init__(self) -> None:
        self.held: dict[CacheKey, str] = {}

    async def take(self, key: CacheKey, token: str) -> bool:
        return self.held.setdefault(key, token) == token

    async def release(self, key: CacheKey, token: str) -> None:
        if self.held.get(key) == token:
            del self.held[key]
