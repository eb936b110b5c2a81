"""What keeps the read models up to date: projections, hosted by FastStream, written to PostgreSQL."""

import asyncio
from collections.abc import Sequence
from typing import Any

from adapters.faststream_log import open_log
from domain.ports import Database
from projections.projection import Projection
from projections.work import Worker


async def run_projections(
    nats_servers: list[str],
    database: Database,
    projections: Sequence[Projection[Any]],
    worker_id: str,
    stop: asyncio.Event,
) -> None:
    """Until `stop` is set. Raises Unavailable when the log cannot be reached at first; later outages are waited out."""
    async with open_log(nats_servers) as log:
        await Worker(worker_id, projections, database, log).run(stop)
