"""Tables and streams are brought up to date once, in order, and nothing that was applied may change."""

import asyncio
import uuid

import asyncpg
import msgspec
import pytest

from adapters.endpoints import ServiceEndpoints
from adapters.postgres import open_database
from migrations.apply import (
    OUTSIDE_A_TRANSACTION,
    Migration,
    MigrationError,
    migrate,
    migrate_database,
    migrations,
)
from migrations.check import unfit_queries


def schema() -> str:
    return f"m_{uuid.uuid4().hex}"


async def test_migrating_again_changes_nothing(servers: ServiceEndpoints) -> None:
    await migrate(servers)

    assert await migrate(servers) == []
    assert await unfit_queries(servers.database) == []


async def test_many_that_migrate_at_once_do_it_once(servers: ServiceEndpoints) -> None:
    name = schema()
    applied = await asyncio.gather(*(migrate_database(servers.database, schema=name) for _ in range(5)))

    assert sorted(len(names) for names in applied) == [0, 0, 0, 0, len(migrations())]


async def test_a_changed_file_is_refused(servers: ServiceEndpoints) -> None:
    name = schema()
    await migrate_database(servers.database, schema=name)
    first, *rest = migrations()
    changed = msgspec.structs.replace(first, sql=first.sql + "-- again")

    with pytest.raises(MigrationError, match=f"{first.name} was changed after it was applied"):
        await migrate_database(servers.database, schema=name, wanted=[changed, *rest])


async def test_a_newer_database_is_refused(servers: ServiceEndpoints) -> None:
    name = schema()
    await migrate_database(servers.database, schema=name)

    with pytest.raises(MigrationError, match="newer release"):
        await migrate_database(servers.database, schema=name, wanted=migrations()[:-1])


async def test_a_migration_that_fails_leaves_nothing_behind(servers: ServiceEndpoints) -> None:
    name = schema()
    good = migrations()[0]
    bad = msgspec.structs.replace(good, name="9999_bad.sql", sql="CREATE TABLE half (x int); SELECT no_such_thing")

    with pytest.raises(Exception, match="no_such_thing"):
        await migrate_database(servers.database, schema=name, wanted=[good, bad])

    async with open_database(servers.database) as database:
        assert await database.fetch("SELECT FROM pg_namespace WHERE nspname = $1", name) == []


def concurrently(columns: str, number: int = 2) -> Migration:
    sql = f"""{OUTSIDE_A_TRANSACTION}
        DROP INDEX CONCURRENTLY IF EXISTS by_x;
        CREATE UNIQUE INDEX CONCURRENTLY by_x ON things ({columns});
        """
    return Migration(f"000{number}_by_x.sql", sql)


THINGS = Migration("0001_things.sql", "CREATE TABLE things (x int, y int); INSERT INTO things VALUES (1, 1), (1, 2)")
IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = $1::regclass"


async def test_an_index_that_is_built_beside_writers_is_built_once(servers: ServiceEndpoints) -> None:
    name, wanted = schema(), [THINGS, concurrently("x, y")]
    applied = await asyncio.gather(*(migrate_database(servers.database, schema=name, wanted=wanted) for _ in range(4)))

    assert sorted(len(names) for names in applied) == [0, 0, 0, 2]
    async with open_database(servers.database) as database:
        assert [row["indisvalid"] for row in await database.fetch(IS_VALID, f"{name}.by_x")] == [True]


async def test_what_an_interrupted_building_left_is_built_anew(servers: ServiceEndpoints) -> None:
    name, wanted = schema(), [THINGS, concurrently("x")]
    with pytest.raises(asyncpg.UniqueViolationError):
        await migrate_database(servers.database, schema=name, wanted=wanted)

    async with open_database(servers.database) as database:
        left = await database.fetch(IS_VALID, f"{name}.by_x")
        await database.fetch(f"DELETE FROM {name}.things WHERE y = 2")
        applied = await migrate_database(servers.database, schema=name, wanted=wanted)
        now = await database.fetch(IS_VALID, f"{name}.by_x")

    assert [row["indisvalid"] for row in (*left, *now)] == [False, True]
    assert applied == ["0002_by_x.sql"]


async def test_what_was_applied_before_a_failure_outside_a_transaction_stays_and_what_fails_after_it_does_not(
    servers: ServiceEndpoints,
) -> None:
    name = schema()
    bad = Migration("0003_bad.sql", "CREATE TABLE half (x int); SELECT no_such_thing")
    with pytest.raises(asyncpg.UndefinedColumnError):
        await migrate_database(servers.database, schema=name, wanted=[THINGS, concurrently("x, y"), bad])

    async with open_database(servers.database, schema=name) as database:
        applied = [row["name"] for row in await database.fetch("SELECT name FROM migrations ORDER BY name")]
        tables = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY 1", name)

    assert applied == ["0001_things.sql", "0002_by_x.sql"]
    assert [row["tablename"] for row in tables] == ["migrations", "things"]
