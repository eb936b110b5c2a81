"""Bring a database and a log to what this release needs. Applying again changes nothing."""

import asyncio
import hashlib
import re
from importlib import resources
from itertools import takewhile
from typing import cast

import asyncpg
import msgspec

from adapters.endpoints import DatabaseEndpoint, ServiceEndpoints
from adapters.nats_connection import connect_nats
from migrations.streams import apply_streams

ONE_AT_A_TIME = 7_210_000
TURN_POLL_S = 0.05
CONNECT_TIMEOUT_S = 10
OUTSIDE_A_TRANSACTION = "-- migrate: outside a transaction\n"
"""The first line of a migration whose statements are executed one after the other, each on its own, as the building of
an index without locking its table must be. Interrupted, it runs again from its first statement, so that one clears away
what an earlier try has left. A statement ends with a semicolon at the end of a line."""
_NAME = re.compile(r"\d{4}_\w+\.sql")

HISTORY = """
    CREATE TABLE IF NOT EXISTS migrations (
        name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"""


class MigrationError(Exception):
    """The database was brought up by other files than ours. One line: which, and what to do."""


class Migration(msgspec.Struct, frozen=True):
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def in_transaction(self) -> bool:
        return not self.sql.startswith(OUTSIDE_A_TRANSACTION)

    @property
    def statements(self) -> list[str]:
        return [f"{part};" for part in self.sql.strip().removesuffix(";").split(";\n")]


def migrations() -> list[Migration]:
    """In the order in which they apply."""
    files = [file for file in resources.files("migrations.postgres").iterdir() if _NAME.fullmatch(file.name)]
    return [Migration(file.name, file.read_text()) for file in sorted(files, key=lambda file: file.name)]


async def migrate(endpoints: ServiceEndpoints, *, replicas: int = 1) -> list[str]:
    """The names of the migrations and streams that were applied. Raises MigrationError, and Unavailable for the log."""
    applied = await migrate_database(endpoints.database)
    connection = await connect_nats(endpoints.nats_url, "agg-migrate")
    try:
        return applied + await apply_streams(connection, replicas=replicas)
    finally:
        await connection.close()


async def migrate_database(
    endpoint: DatabaseEndpoint, *, schema: str = "public", wanted: list[Migration] | None = None
) -> list[str]:
    """All up to the first that must be outside a transaction are in one: a migration that fails leaves everything as
    it was. From that one on each is by itself, and what was applied before a failure stays. The schema is made if need
    be."""
    connection = await connect(endpoint)
    try:
        await _take_turn(connection)
        async with connection.transaction():
            missing = await _missing(connection, schema, migrations() if wanted is None else wanted)
            together = list(takewhile(lambda migration: migration.in_transaction, missing))
            for migration in together:
                await _apply(connection, migration)
        for migration in missing[len(together) :]:
            await _apply_alone(connection, migration)
        return [migration.name for migration in missing]
    finally:
        await connection.close()


async def _take_turn(connection: asyncpg.Connection) -> None:
    """Until the connection ends. Asks again and again: whoever waited in a statement would hold up the building of an
    index, which waits for all statements that began before it."""
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", ONE_AT_A_TIME):  # noqa: ASYNC110  (the other is another process)
        await asyncio.sleep(TURN_POLL_S)


async def _missing(connection: asyncpg.Connection, schema: str, wanted: list[Migration]) -> list[Migration]:
    await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    await connection.execute(f'SET search_path TO "{schema}"')
    await connection.execute(HISTORY)
    rows = await connection.fetch("SELECT name, checksum FROM migrations")
    applied: dict[str, str] = {cast(str, row["name"]): cast(str, row["checksum"]) for row in rows}
    check_history(applied, wanted)
    return [migration for migration in wanted if migration.name not in applied]


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    await connection.execute(migration.sql)
    await _note(connection, migration)


async def _apply_alone(connection: asyncpg.Connection, migration: Migration) -> None:
    if migration.in_transaction:
        async with connection.transaction():
            await _apply(connection, migration)
    else:
        for statement in migration.statements:
            await connection.execute(statement)
        await _note(connection, migration)


async def _note(connection: asyncpg.Connection, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO migrations (name, checksum) VALUES ($1, $2)", migration.name, migration.checksum
    )


def check_history(applied: dict[str, str], wanted: list[Migration]) -> None:
    """Raises MigrationError when what was applied is not the beginning of what is wanted."""
    for migration in wanted:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationError(
                f"{migration.name} was changed after it was applied: put it back as it was and write a new migration"
            )
    names = [migration.name for migration in wanted]
    if unknown := sorted(applied.keys() - set(names)):
        raise MigrationError(f"the database was migrated by a newer release ({unknown[-1]}): run that one")
    if applied and (late := [name for name in names if name not in applied and name < max(applied)]):
        raise MigrationError(f"{late[0]} comes before migrations that are applied already: give it a later number")


async def connect(endpoint: DatabaseEndpoint) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=endpoint.host,
        port=endpoint.port,
        user=endpoint.user,
        password=endpoint.password,
        database=endpoint.dbname,
        timeout=CONNECT_TIMEOUT_S,
    )
