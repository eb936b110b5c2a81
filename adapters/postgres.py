"""PostgreSQL as the database of the read models: a pool of connections that speak msgspec for JSON."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
import msgspec

from adapters.endpoints import DatabaseEndpoint
from domain.errors import Unavailable
from domain.ports import Row, RowsRefused

APPLICATION = "agg"
CONNECT_TIMEOUT_S = 5.0
ACQUIRE_TIMEOUT_S = 5.0
IDLE_CONNECTION_S = 300.0
JSONB_VERSION = b"\x01"

REFUSALS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)
OUTAGES = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server died under a query that was being cancelled
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.CannotConnectNowError,
    OSError,
    TimeoutError,
)


class PostgresDatabase:
    """Made by `open_database`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator["PostgresConnection"]:
        with _translated():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection, connection.transaction():
                yield PostgresConnection(connection)

    async def fetch(self, query: str, *args: object) -> list[Row]:
        with _translated():
            # the pool's own `fetch` would wait for a connection without end
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                return cast(list[Row], await connection.fetch(query, *args))


class PostgresConnection:
    """A connection within a transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def execute(self, query: str, *args: object) -> int:
        status: str = await self._connection.execute(query, *args)
        return int(last) if (last := status.rpartition(" ")[2]).isdigit() else 0

    async def fetch(self, query: str, *args: object) -> list[Row]:
        return await self._connection.fetch(query, *args)

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        await self._connection.copy_records_to_table(table, columns=columns, records=rows)


@asynccontextmanager
async def open_database(
    endpoint: DatabaseEndpoint, *, size: int = 10, statement_timeout_s: float = 10.0, schema: str = "public"
) -> AsyncGenerator[PostgresDatabase]:
    """A pool of at most `size` connections, made when they are first needed. Raises Unavailable."""
    with _translated():
        pool = asyncpg.create_pool(
            host=endpoint.host,
            port=endpoint.port,
            user=endpoint.user,
            password=endpoint.password,
            database=endpoint.dbname,
            min_size=0,
            max_size=size,
            init=_speak_json,
            timeout=CONNECT_TIMEOUT_S,
            max_inactive_connection_lifetime=IDLE_CONNECTION_S,
            server_settings={
                "application_name": APPLICATION,
                "statement_timeout": str(int(statement_timeout_s * 1000)),
                "idle_in_transaction_session_timeout": str(int(statement_timeout_s * 1000)),
                "search_path": schema,
                "timezone": "UTC",
            },
        )
        await pool
    try:
        yield PostgresDatabase(pool)
    finally:
        pool.terminate()


class _translated:  # noqa: N801  (reads as a word at its only places)
    """Outages become Unavailable, data that is no good becomes RowsRefused; bugs stay what they are."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, failure: BaseException | None, _trace: object) -> None:
        if isinstance(failure, REFUSALS):
            raise RowsRefused(str(failure)) from failure
        if isinstance(failure, OUTAGES):
            raise Unavailable("The database cannot be reached or does not answer in time.") from failure


async def _speak_json(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_to_jsonb, decoder=_from_jsonb, format="binary"
    )
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=msgspec.json.encode, decoder=msgspec.json.decode, format="binary"
    )


def _to_jsonb(value: object) -> bytes:
    return JSONB_VERSION + msgspec.json.encode(value)


def _from_jsonb(stored: bytes) -> object:
    return msgspec.json.decode(memoryview(stored)[1:])
