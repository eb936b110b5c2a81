"""The response cache put together: for the same question, and on routes that want it for nearly the same one."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from redis.asyncio import Redis

from adapters import pgvector_semantic_cache, valkey_response_cache
from adapters.cache_guard import CacheGuard
from adapters.live_directory import LiveDirectory
from adapters.pgvector_semantic_cache import PgvectorSemanticCache
from adapters.response_cache_scripts import Way
from adapters.single_flight import SingleFlight
from adapters.valkey_response_cache import ValkeyResponseCache
from adapters.valkey_scripts import BatchedScripts
from api.answer_cache import AnswerCache
from api.similar_answers import Embedder, SimilarAnswers
from api.telemetry import CacheTelemetry
from domain.ports import Database
from domain.response_cache import CachePolicy

MOST_LONG_AT_ONCE = 16
"""Of answers that may have a megabyte each."""
LOOK_EVERY_S = 5.0
"""Between two looks at whether questions can be compared."""


@dataclass(frozen=True)
class CacheStores:
    """Answers are in Valkey, sealed with `sealing_key`; the vectors of their questions in the database."""

    valkey: Redis
    scripts: BatchedScripts
    database: Database
    sealing_key: bytes


@dataclass(frozen=True)
class Caching:
    """`close` before the scripts, and those before Valkey's client."""

    answers: AnswerCache
    questions: PgvectorSemanticCache
    close: Callable[[], Awaitable[None]]


def compose_caching(
    stores: CacheStores,
    directory: LiveDirectory,
    embedder: Embedder,
    now: Callable[[], datetime],
    telemetry: CacheTelemetry,
) -> Caching:
    count, count_question = telemetry.count, telemetry.of("question")
    guard, long_guard = (CacheGuard(valkey_response_cache.FAILURES, time.monotonic, count) for _ in range(2))
    long = Way(BatchedScripts(stores.valkey), long_guard, MOST_LONG_AT_ONCE)
    short = Way(stores.scripts, guard)
    cache = ValkeyResponseCache(stores.valkey, short, long, stores.sealing_key, now, time.monotonic, count)
    flights = SingleFlight(cache)
    question_guard = CacheGuard(pgvector_semantic_cache.FAILURES, time.monotonic, count_question)
    questions = PgvectorSemanticCache(stores.database, question_guard, now, count_question)

    def policy_of(name: str) -> CachePolicy | None:
        route = directory.routes().get(name)
        return route.cache if route is not None else None

    similar = SimilarAnswers(cache, questions, embedder, now)

    async def close() -> None:
        await similar.close()
        await cache.aclose()
        await long.scripts.aclose()

    return Caching(AnswerCache(cache, flights, similar, policy_of), questions, close)
