"""Questions that are nearly the same, found by a real pgvector; and what happens without PostgreSQL or pgvector."""

import asyncio
import math
import os
import signal
import uuid
from collections.abc import AsyncIterator, Sequence

import msgspec
import psutil
import pytest
import structlog

from adapters.cache_guard import FAILURES_TO_OPEN, CacheGuard
from adapters.embedded.postgres import PostgresServer
from adapters.endpoints import DatabaseEndpoint, ServiceEndpoints
from adapters.pgvector_semantic_cache import FAILURES, NO_PGVECTOR, TIDY_EVERY, PgvectorSemanticCache
from adapters.postgres import open_database
from domain.ports import Database
from domain.semantic_cache import SemanticPlace
from migrations.apply import connect, migrate_database
from tests.caching import Clock, Outcomes
from tests.support import open_directory

PATIENT_S = 10.0
HI = [1.0, 0.0, 0.0]


class Index:
    """A semantic cache over a database, with what it counted."""

    def __init__(self, database: Database, limit_s: float = PATIENT_S) -> None:
        self.database = database
        self.clock, self.outcomes = Clock(), Outcomes()
        guard = CacheGuard(FAILURES, self.clock.monotonic, self.outcomes, limit_s)
        self.questions = PgvectorSemanticCache(database, guard, self.clock.now, self.outcomes)

    async def copied(self, place: SemanticPlace, number: int) -> int:
        """How many there are with so many younger ones, which point another way, beside the oldest."""
        await self.database.fetch(
            """
            INSERT INTO semantic_cache (place, digest, scope, embedding, stored_at, expires_at)
            SELECT place, 'copy ' || n, scope, '{0,1,0}', stored_at + interval '1 second', expires_at
            FROM semantic_cache, generate_series(1, $2) AS n WHERE scope = $1 AND digest = 'oldest'
            ON CONFLICT DO NOTHING
            """,
            place.scope,
            number,
        )
        return await self.rows_of(place)

    async def nearest(self, place: SemanticPlace, vector: Sequence[float], threshold: float) -> str | None:
        """The digest of the nearest."""
        near = await self.questions.nearest(place, vector, threshold)
        return near and near.digest

    async def rows_of(self, place: SemanticPlace) -> int:
        rows = await self.database.fetch("SELECT count(*) AS n FROM semantic_cache WHERE scope = $1", place.scope)
        return rows[0]["n"]


@pytest.fixture
async def index(servers: ServiceEndpoints) -> AsyncIterator[Index]:
    await migrate_database(servers.database)
    async with open_database(servers.database) as database:
        yield Index(database)


def new_place() -> SemanticPlace:
    return SemanticPlace(f"acc_{uuid.uuid4().hex}", "rest", "openai/embedding")


def at_similarity(cosine: float) -> list[float]:
    """A vector with this cosine similarity to `HI`, and another length."""
    return [3 * cosine, 3 * math.sqrt(1 - cosine * cosine), 0.0]


async def test_a_near_question_is_found_and_a_far_one_is_not(index: Index) -> None:
    place = new_place()
    await index.questions.add(place, HI, "d1", 60)

    assert await index.nearest(place, at_similarity(0.97), 0.95) == "d1"
    assert await index.nearest(place, at_similarity(0.2), 0.95) is None
    assert await index.nearest(place, [-1.0, 0.0, 0.0], 0.01) is None
    assert index.outcomes.seen == {"added": 1, "near": 1, "far": 2}


@pytest.mark.parametrize(("cosine", "found"), [(0.901, True), (0.9, True), (0.899, False)])
async def test_the_threshold_itself_is_near_enough(index: Index, cosine: float, found: bool) -> None:
    place = new_place()
    await index.questions.add(place, HI, "d1", 60)

    assert (await index.nearest(place, at_similarity(cosine), 0.9) is not None) == found


async def test_the_same_text_is_found_at_any_threshold(index: Index) -> None:
    place, vector = new_place(), [math.sin(number) / 7 for number in range(1_536)]
    await index.questions.add(place, vector, "d1", 60)

    assert await index.nearest(place, vector, 1.0) == "d1"


async def test_the_nearest_of_several_is_found(index: Index) -> None:
    place = new_place()
    for digest, cosine in (("d1", 0.91), ("d2", 0.99), ("d3", 0.95)):
        await index.questions.add(place, at_similarity(cosine), digest, 60)

    near = await index.questions.nearest(place, HI, 0.9)
    assert near is not None and near.digest == "d2"
    assert near.similarity == pytest.approx(0.99, abs=1e-6)


async def test_nothing_is_nearer_than_the_same(index: Index) -> None:
    place, vector = new_place(), [0.1, 0.7, -0.3]
    await index.questions.add(place, vector, "d1", 60)
    near = await index.questions.nearest(place, vector, 0.9)

    assert near is not None
    assert 1 - 1e-6 <= near.similarity <= 1


@pytest.mark.parametrize("differs", ["scope", "rest_digest", "embedding_model"])
async def test_another_account_question_or_embedding_model_finds_nothing(index: Index, differs: str) -> None:
    place = new_place()
    await index.questions.add(place, HI, "d1", 60)
    words = {name: getattr(place, name) for name in SemanticPlace.__struct_fields__}
    other = SemanticPlace(**{**words, differs: "another"})

    assert await index.nearest(other, HI, 0.5) is None


async def test_vectors_of_different_lengths_keep_apart(index: Index) -> None:
    place = new_place()
    await index.questions.add(place, HI, "d1", 60)
    await index.questions.add(place, [1.0, 0.0], "d2", 60)

    assert await index.nearest(place, HI, 0.9) == "d1"
    assert await index.nearest(place, [1.0, 0.1], 0.9) == "d2"


async def test_vectors_without_a_direction_match_nothing(index: Index) -> None:
    place = new_place()
    await index.questions.add(place, [0.0, 0.0, 0.0], "d1", 60)
    await index.questions.add(place, HI, "d2", 60)
    await index.questions.add(place, [1e-30, 0.0, 0.0], "d3", 60)

    assert await index.rows_of(place) == 2
    assert await index.nearest(place, [0.0, 0.0, 0.0], 0.01) is None
    assert await index.nearest(place, [1e-30, 0.0, 0.0], 0.01) in (None, "d2")
    assert await index.nearest(place, HI, 0.9) == "d2"


async def test_a_question_ends_with_its_time_to_live_and_begins_anew_when_stored_again(index: Index) -> None:
    place = new_place()
    await index.questions.add(place, HI, "d1", 60)
    index.clock.move(59)
    assert await index.nearest(place, HI, 0.9) == "d1"
    index.clock.move(1)
    assert await index.nearest(place, HI, 0.9) is None

    await index.questions.add(place, HI, "d1", 60)
    assert await index.nearest(place, HI, 0.9) == "d1"
    assert await index.rows_of(place) == 1


async def test_what_ended_is_cleared_away(index: Index) -> None:
    ended, place = new_place(), new_place()
    await index.questions.add(ended, HI, "old", 1)
    index.clock.move(5)
    for number in range(TIDY_EVERY):
        await index.questions.add(place, HI, f"d{number}", 60)

    assert await index.rows_of(ended) == 0
    assert await index.rows_of(place) == TIDY_EVERY


async def test_a_purge_takes_all_of_one_account_and_nothing_else(index: Index) -> None:
    mine, other = new_place(), new_place()
    for place in (mine, other):
        await index.questions.add(place, HI, "d1", 60)
    await index.questions.purge(mine.scope)

    assert await index.nearest(mine, HI, 0.9) is None
    assert await index.nearest(other, HI, 0.9) == "d1"


async def test_a_stopped_database_is_not_waited_for() -> None:
    with open_directory() as directory:
        server = PostgresServer(directory / "postgres")
        await server.start()
        try:
            await migrate_database(server.endpoint)
            async with open_database(server.endpoint) as database:
                index, place = Index(database, limit_s=0.05), new_place()
                async with asyncio.timeout(PATIENT_S):
                    while not await index.nearest(place, HI, 0.9):
                        await index.questions.add(place, HI, "d1", 60)
                await index.questions.look()
                assert index.questions.can_compare
                assert server.pid is not None
                os.kill(server.pid, signal.SIGSTOP)
                _signal_children(server.pid, signal.SIGSTOP)
                try:
                    async with asyncio.timeout(PATIENT_S):  # each would wait 5 s for a connection, and for its cancel
                        for _ in range(100):
                            assert await index.nearest(place, HI, 0.9) is None
                            await index.questions.add(place, HI, "d1", 60)
                    assert not index.questions.can_compare
                finally:
                    _signal_children(server.pid, signal.SIGCONT)
                    os.kill(server.pid, signal.SIGCONT)
                assert index.outcomes.seen["slow"] >= FAILURES_TO_OPEN
                assert index.outcomes.seen["skipped"] >= 190
        finally:
            await server.stop()


def _signal_children(pid: int, number: signal.Signals) -> None:
    for child in psutil.Process(pid).children(recursive=True):
        child.send_signal(number)


async def test_a_database_without_pgvector_migrates_and_finds_nothing(servers: ServiceEndpoints) -> None:
    admin = await connect(servers.database)
    name = f"bare_{uuid.uuid4().hex}"
    role = f"plain_{uuid.uuid4().hex}"
    await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'plain'")
    await admin.execute(f"CREATE DATABASE {name} OWNER {role}")
    bare = msgspec.structs.replace(servers.database, dbname=name, user=role, password="plain")
    try:
        await migrate_database(bare)
        async with open_database(bare) as database:
            index, place = Index(database), new_place()
            with structlog.testing.capture_logs() as said:
                await index.questions.look()
                await index.questions.look()
            assert [(line["event"], line["reason"]) for line in said] == [("semantic_cache_off", NO_PGVECTOR)]
            assert not index.questions.can_compare
            await index.questions.add(place, HI, "d1", 60)
            assert await index.nearest(place, HI, 0.9) is None
            assert index.outcomes.seen == {"added": 1, "failed": 1}

            await _install_pgvector(msgspec.structs.replace(servers.database, dbname=name))
            await index.questions.look()
            assert index.questions.can_compare
            assert await index.nearest(place, HI, 0.9) == "d1"
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.execute(f"DROP ROLE {role}")
        await admin.close()


async def _install_pgvector(where: DatabaseEndpoint) -> None:
    connection = await connect(where)
    await connection.execute("CREATE EXTENSION vector")
    await connection.close()


async def test_the_newest_thousand_of_a_place_are_compared(index: Index) -> None:
    place = new_place()
    await index.questions.add(place, HI, "oldest", 60)
    assert await index.copied(place, 999) == 1_000
    assert await index.nearest(place, HI, 0.9) == "oldest"
    assert await index.copied(place, 1_000) == 1_001

    assert await index.nearest(place, HI, 0.9) is None


async def test_of_one_account_the_newest_ten_thousand_are_kept(index: Index) -> None:
    place = new_place()
    await index.questions.add(place, HI, "oldest", 60)
    await index.copied(place, 10_100)
    for number in range(TIDY_EVERY - 1):
        await index.questions.add(new_place(), HI, f"d{number}", 60)
    assert await index.rows_of(place) == 10_101
    for _ in range(TIDY_EVERY):
        await index.questions.add(place, HI, "newest", 60)

    assert await index.rows_of(place) == 10_000
