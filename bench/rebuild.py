"""How fast read models are built from the log: `python -m bench.rebuild [EVENTS] [PROJECTION ...]`."""

import asyncio
import resource
import sys
from time import monotonic
from typing import Any

import uvloop

from adapters.embedded.nats import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.endpoints import DatabaseEndpoint
from adapters.nats_connection import connect_nats
from adapters.postgres import open_database
from api.worker import run_projections
from bench.synthetic import batches, request_events
from domain.ports import Database
from domain.request import RequestAdmitted, RequestCached
from migrations.apply import migrate_database
from migrations.streams import apply_streams
from projections.positions import wait_for
from projections.projection import Projection
from projections.read_models import READ_MODELS
from tests.support import open_directory

EVENTS = 1_000_000
BATCH = 64
IN_FLIGHT = 64
NAMES = ("usage", "requests", "event_archive")
LIMIT_S = 600.0


async def main(events: int, names: list[str]) -> None:
    with open_directory() as directory:
        nats, postgres = NatsServer(directory / "nats"), PostgresServer(directory / "postgres")
        await asyncio.gather(nats.start(), postgres.start())
        try:
            last = await load(nats.endpoint, events)
            await migrate_database(postgres.endpoint)
            for projection in READ_MODELS:
                if projection.name in names:
                    await measure(nats.endpoint, postgres.endpoint, projection, last, events)
        finally:
            await asyncio.gather(nats.stop(), postgres.stop())


async def load(url: str, events: int) -> int:
    """The position of the last message."""
    connection = await connect_nats(url, "bench")
    await apply_streams(connection)
    started, position = monotonic(), 0
    jetstream = connection.jetstream()
    waiting: list[asyncio.Future[Any]] = []
    for body in batches(request_events(events), BATCH):
        waiting.append(asyncio.ensure_future(jetstream.publish("req.0", body, timeout=30)))
        if len(waiting) == IN_FLIGHT:
            position = max(ack.seq for ack in await asyncio.gather(*waiting))
            waiting.clear()
    position = max([position, *(ack.seq for ack in await asyncio.gather(*waiting))])
    await connection.close()
    print(f"loaded {events:,} events in {position:,} messages, {events / (monotonic() - started):,.0f} events/s")
    return position


async def measure(url: str, endpoint: DatabaseEndpoint, projection: Projection[Any], last: int, events: int) -> None:
    async with open_database(endpoint, statement_timeout_s=60) as database:
        stop = asyncio.Event()
        started, cpu = monotonic(), _cpu_s()
        working = asyncio.create_task(run_projections([url], database, [projection], "bench", stop))
        reached = asyncio.create_task(wait_for(database, [projection], {"REQ": last}, timeout_s=LIMIT_S))
        ended, _ = await asyncio.wait((working, reached), return_when=asyncio.FIRST_COMPLETED)
        took, used = monotonic() - started, _cpu_s() - cpu
        for task in ended:
            task.result()
        stop.set()
        await working
        await check(database, projection, events)
        print(
            f"{projection.name:14} {events / took:9,.0f} events/s  {took:6.1f} s"
            f"  {used / events * 1e6:5.1f} us CPU/event (Python)"
            f"  {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB  {await _rows(database, projection)}"
        )


async def check(database: Database, projection: Projection[Any], events: int) -> None:
    """Nothing is missing, nothing is there twice."""
    admitted = sum(isinstance(event, RequestAdmitted) for event in request_events(events))
    cached = sum(isinstance(event, RequestCached) for event in request_events(events))
    queries = {
        "usage": ("SELECT sum(requests)::bigint AS n FROM usage", events - admitted),
        "requests": ("SELECT count(*) AS n FROM requests", admitted + cached),
    }
    if wanted := queries.get(projection.name):
        (row,) = await database.fetch(wanted[0])
        assert row["n"] == wanted[1], f"{projection.name}: {row['n']} instead of {wanted[1]}"


async def _rows(database: Database, projection: Projection[Any]) -> str:
    counts = [
        f"{table}: {(await database.fetch(f'SELECT count(*) AS n FROM {table}'))[0]['n']:,} rows"
        for table in projection.tables
    ]
    return ", ".join(counts)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    arguments = sys.argv[1:]
    count = int(arguments.pop(0)) if arguments and arguments[0].isdigit() else EVENTS
    uvloop.run(main(count, arguments or list(NAMES)))
