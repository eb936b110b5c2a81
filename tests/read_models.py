"""Read models in a schema of their own, and what is in them."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from adapters.endpoints import DatabaseEndpoint
from adapters.postgres import PostgresDatabase, open_database
from domain.ports import Database
from migrations.apply import migrate_database
from projections.projection import Projection
from projections.read_models import READ_MODELS


@asynccontextmanager
async def read_models(endpoint: DatabaseEndpoint) -> AsyncGenerator[PostgresDatabase]:
    """Empty tables that no other test sees."""
    schema = f"t_{uuid.uuid4().hex}"
    await migrate_database(endpoint, schema=schema)
    async with open_database(endpoint, schema=schema) as database:
        yield database


async def dump(database: Database, projections: Sequence[Projection[Any]] = READ_MODELS) -> dict[str, list[str]]:
    """Every row of their tables, as text, in an order of its own."""
    tables = [table for projection in projections for table in projection.tables]
    rows = {table: await database.fetch(f"SELECT t::text AS row FROM {table} AS t ORDER BY 1") for table in tables}
    return {table: [row["row"] for row in found] for table, found in rows.items()}


async def count(database: Database, table: str) -> int:
    return (await database.fetch(f"SELECT count(*) AS n FROM {table}"))[0]["n"]
