"""Embeddings of questions in PostgreSQL, compared by pgvector. The answers themselves are not here.

Vectors are stored as plain arrays, so that the table exists with or without the extension, and vectors of every length
share it. The newest questions of one place are compared one by one: a place is one account's chats with equal
beginnings, and 1,000 vectors of 1,536 dimensions take 7 ms. An approximate index would need one table a dimension, and
searches all places before it keeps one.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import asyncpg
import structlog

from adapters.cache_guard import CacheGuard, NoAnswer
from domain.errors import Unavailable
from domain.ports import Database, RowsRefused
from domain.semantic_cache import NearQuestion, SemanticPlace, is_comparable

FAILURES = (Unavailable, RowsRefused, asyncpg.PostgresError)
"""For the guard."""
ROUNDING = 1e-6
"""Components are 32-bit floats: the same text embedded twice may be this far from itself."""
TIDY_EVERY = 100
"""Of the questions that one process adds."""

NO_PGVECTOR = "the database has no pgvector: install it and say CREATE EXTENSION vector"
DATABASE_AWAY = "the database does not answer"

logger = structlog.get_logger()

NEAREST = """
SELECT digest, 1 - (embedding::vector <=> $2::real[]::vector) AS similarity
FROM (
    SELECT digest, embedding FROM semantic_cache
    WHERE place = $1 AND expires_at > $3 ORDER BY stored_at DESC LIMIT 1000
) AS newest
ORDER BY embedding::vector <=> $2::real[]::vector LIMIT 1
"""
ADD = """
INSERT INTO semantic_cache (place, digest, scope, embedding, stored_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (place, digest) DO UPDATE
SET embedding = excluded.embedding, stored_at = excluded.stored_at, expires_at = excluded.expires_at
RETURNING place
"""
FORGET_ENDED = """
DELETE FROM semantic_cache WHERE (place, digest) IN (
    SELECT place, digest FROM semantic_cache WHERE expires_at <= $1 LIMIT 1000 FOR UPDATE SKIP LOCKED
) RETURNING place
"""
FORGET_SURPLUS = """
DELETE FROM semantic_cache WHERE (place, digest) IN (
    SELECT place, digest FROM semantic_cache WHERE scope = $1
    ORDER BY stored_at DESC OFFSET 10000 LIMIT 1000 FOR UPDATE SKIP LOCKED
) RETURNING place
"""


class PgvectorSemanticCache:
    """Supplies `SemanticIndex`. Of one scope it keeps the newest 10,000 questions. `count` is told one outcome of every
    call, beside what the guard counts: `near`, `far`, `added`, `purged`."""

    def __init__(
        self, database: Database, guard: CacheGuard, now: Callable[[], datetime], count: Callable[[str], None]
    ) -> None:
        self._database = database
        self._guard = guard
        self._now = now
        self._count = count
        self._added = 0
        self._can_compare = False
        self._told: str | None = None

    @property
    def can_compare(self) -> bool:
        """As `look` saw it last, unless the database has not answered in time since."""
        return self._can_compare and self._guard.would_try

    async def look(self) -> None:
        """See whether questions can be compared now. The log is told when they cannot, and when they can again."""
        obstacle = await self._obstacle()
        self._can_compare = obstacle is None
        if obstacle != self._told:
            self._told = obstacle
            if obstacle is None:
                logger.info("semantic_cache_on")
            else:
                logger.warning("semantic_cache_off", reason=obstacle)

    async def _obstacle(self) -> str | None:
        try:
            rows = await self._database.fetch("SELECT to_regtype('vector') IS NOT NULL AS there")
        except FAILURES:
            return DATABASE_AWAY
        return None if rows[0]["there"] else NO_PGVECTOR

    async def nearest(self, place: SemanticPlace, vector: Sequence[float], threshold: float) -> NearQuestion | None:
        if not is_comparable(vector):
            return None
        name, now = _name(place, len(vector)), self._now()
        try:
            rows = await self._guard.attempt(lambda: self._database.fetch(NEAREST, name, vector, now))
        except NoAnswer:
            return None
        is_near = bool(rows) and rows[0]["similarity"] >= threshold - ROUNDING
        self._count("near" if is_near else "far")
        return NearQuestion(rows[0]["digest"], min(1.0, rows[0]["similarity"])) if is_near else None

    async def add(self, place: SemanticPlace, vector: Sequence[float], digest: str, ttl_s: int) -> None:
        if not is_comparable(vector):
            return
        name, now = _name(place, len(vector)), self._now()
        row = (name, digest, place.scope, vector, now, now + timedelta(seconds=ttl_s))
        try:
            await self._guard.attempt(lambda: self._database.fetch(ADD, *row))
            self._count("added")
            self._added += 1
            if self._added % TIDY_EVERY == 0:
                await self._guard.attempt(lambda: self._database.fetch(FORGET_ENDED, now))
                await self._guard.attempt(lambda: self._database.fetch(FORGET_SURPLUS, place.scope))
        except NoAnswer:
            return

    async def purge(self, scope: str) -> None:
        await self._database.fetch("DELETE FROM semantic_cache WHERE scope = $1 RETURNING scope", scope)
        self._count("purged")


def _name(place: SemanticPlace, dimensions: int) -> str:
    """Only vectors of one length can be compared: a model that changes its own begins anew."""
    words = (place.scope, place.rest_digest, place.embedding_model, str(dimensions))
    return hashlib.sha256("\x00".join(words).encode()).hexdigest()
