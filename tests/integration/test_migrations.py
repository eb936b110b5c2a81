"""Tables and streams are brought up to date once, in order, and nothing that was applied may change."""

import asyncio
import uuid

import msgspec
import pytest

from adapters.endpoints import ServiceEndpoints
from adapters.postgres import open_database
from migrations.apply import MigrationError, migrate, migrate_database, migrations
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
