"""Projections behind a real log: quick when idle, exact through restarts of the log and of the database."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client

from adapters.embedded.nats import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.endpoints import ServiceEndpoints
from adapters.faststream_log import open_log
from adapters.nats_connection import connect_nats
from adapters.postgres import PostgresDatabase, open_database
from adapters.pulled_feed import BURST_MESSAGES
from api.worker import run_projections
from domain.ports import FeedBroken
from migrations.apply import migrate_database
from migrations.streams import apply_streams
from projections.positions import read_positions, wait_for
from projections.requests import REQUESTS
from projections.usage import USAGE
from tests.histories import ListedLog, request_messages
from tests.integration.test_folding import build
from tests.read_models import count, dump, read_models
from tests.support import open_directory

BOTH = (USAGE, REQUESTS)


@pytest_asyncio.fixture
async def directory() -> AsyncGenerator[Path]:
    with open_directory() as path:
        yield path


@pytest_asyncio.fixture
async def nats(directory: Path) -> AsyncGenerator[NatsServer]:
    """One of its own: what is in a stream stays there."""
    server = NatsServer(directory / "nats")
    await server.start()
    connection = await connect_nats(server.endpoint, "test")
    await apply_streams(connection)
    await connection.close()
    yield server
    await server.stop()


@asynccontextmanager
async def working(nats: NatsServer, database: PostgresDatabase, *names: str) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    tasks = [asyncio.create_task(run_projections([nats.endpoint], database, BOTH, name, stop)) for name in names]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


@asynccontextmanager
async def connected(nats: NatsServer) -> AsyncGenerator[Client]:
    connection = await connect_nats(nats.endpoint, "test")
    yield connection
    await connection.close()


async def publish(connection: Client, bodies: list[bytes]) -> int:
    jetstream = connection.jetstream()
    position = 0
    for start in range(0, len(bodies), 64):
        acks = await asyncio.gather(*(jetstream.publish("req.0", body, timeout=20) for body in bodies[start:][:64]))
        position = max(ack.seq for ack in acks)
    return position


async def expected(servers: ServiceEndpoints, nats: NatsServer, last: int) -> dict[str, list[str]]:
    """The tables as a fresh build from the same stream leaves them."""
    async with open_log([nats.endpoint]) as log, log.open("REQ", 0) as feed:
        listed = ListedLog()
        while len(listed.messages["REQ"]) < last:
            messages = await feed.take(5)
            assert messages
            listed.messages["REQ"].extend(messages)
    async with read_models(servers.database) as database:
        await build(database, listed)
        return await dump(database, BOTH)


async def test_an_event_is_shown_soon_after_it_was_written(servers: ServiceEndpoints, nats: NatsServer) -> None:
    bodies = [message.raw for message in request_messages(400, batch=8)]
    delays: list[float] = []
    async with (
        read_models(servers.database) as database,
        connected(nats) as connection,
        working(nats, database, "w"),
    ):
        await wait_for(database, BOTH, {"REQ": await publish(connection, bodies[:5])})
        for body in bodies[5:45]:
            position = await publish(connection, [body])
            started = monotonic()
            await wait_for(database, BOTH, {"REQ": position})
            delays.append(monotonic() - started)

    assert sorted(delays)[len(delays) // 2] < 0.1


async def test_more_than_a_burst_arrives_whole_and_in_order(servers: ServiceEndpoints, nats: NatsServer) -> None:
    bodies = [message.raw for message in request_messages(6 * BURST_MESSAGES, batch=2)]
    async with read_models(servers.database) as database, connected(nats) as connection:
        last = await publish(connection, bodies)
        async with working(nats, database, "w"):
            await wait_for(database, BOTH, {"REQ": last}, timeout_s=30)

        assert last == 3 * BURST_MESSAGES
        assert await dump(database, BOTH) == await expected(servers, nats, last)


async def test_a_reader_that_takes_its_time_holds_the_log_back(nats: NatsServer) -> None:
    async with connected(nats) as connection:
        last = await publish(connection, [b"[]"] * (3 * BURST_MESSAGES))
        async with open_log([nats.endpoint]) as log, log.open("REQ", 0) as feed:
            seen = [message.position for message in await feed.take(1)]
            await sent(connection, 2 * BURST_MESSAGES)
            while len(seen) < last:
                seen += [message.position for message in await feed.take(5)]
                assert await sent(connection, 0) <= len(seen) + BURST_MESSAGES

    assert seen == list(range(1, last + 1))


async def test_a_feed_whose_consumer_is_gone_says_so(nats: NatsServer) -> None:
    async with connected(nats) as connection:
        await publish(connection, [b"[]"])
        async with open_log([nats.endpoint]) as log, log.open("REQ", 0) as feed:
            assert len(await feed.take(5)) == 1
            (about,) = await connection.jetstream().consumers_info("REQ")
            await connection.jetstream().delete_consumer("REQ", about.name)

            with pytest.raises(FeedBroken):
                await feed.take(5)


async def test_an_idle_feed_brings_what_comes_later(nats: NatsServer) -> None:
    async with connected(nats) as connection, open_log([nats.endpoint]) as log, log.open("REQ", 0) as feed:
        assert await feed.take(0.01) == []
        later = asyncio.create_task(feed.take(5))
        await publish(connection, [b"[1]", b"[2]"])
        messages = await later
        while len(messages) < 2:
            messages += await feed.take(5)

    assert [(message.position, message.raw) for message in messages] == [(1, b"[1]"), (2, b"[2]")]


async def sent(connection: Client, wanted: int) -> int:
    """How much of the stream the server has sent to its only reader, once that is `wanted` or more."""
    while True:
        (about,) = await connection.jetstream().consumers_info("REQ")
        if about.delivered is not None and about.delivered.stream_seq >= wanted:
            return about.delivered.stream_seq
        await asyncio.sleep(0.01)


async def test_the_log_may_restart(servers: ServiceEndpoints, nats: NatsServer) -> None:
    bodies = [message.raw for message in request_messages(1200, batch=8)]
    async with read_models(servers.database) as database:
        async with working(nats, database, "w"):
            async with connected(nats) as connection:
                await wait_for(database, BOTH, {"REQ": await publish(connection, bodies[:50])})
            await nats.stop()
            await nats.start()
            async with connected(nats) as connection:
                last = await publish(connection, bodies[50:])
            await wait_for(database, BOTH, {"REQ": last}, timeout_s=30)

        assert await dump(database, BOTH) == await expected(servers, nats, last)


async def test_the_database_may_restart(servers: ServiceEndpoints, nats: NatsServer, directory: Path) -> None:
    bodies = [message.raw for message in request_messages(1200, batch=8)]
    postgres = PostgresServer(directory / "postgres")
    await postgres.start()
    await migrate_database(postgres.endpoint)
    async with open_database(postgres.endpoint) as database, connected(nats) as connection:
        async with working(nats, database, "w"):
            await wait_for(database, BOTH, {"REQ": await publish(connection, bodies[:50])})
            await postgres.stop()
            last = await publish(connection, bodies[50:])
            await postgres.start()
            await until(wait_for(database, BOTH, {"REQ": last}, timeout_s=30))

        assert await dump(database, BOTH) == await expected(servers, nats, last)
    await postgres.stop()


async def until(attempt: Any) -> None:
    async with asyncio.timeout(40):
        await attempt


async def test_a_worker_that_leaves_is_followed_by_the_others(servers: ServiceEndpoints, nats: NatsServer) -> None:
    bodies = [message.raw for message in request_messages(1200, batch=8)]
    async with read_models(servers.database) as database, connected(nats) as connection:
        async with working(nats, database, "stays"):
            async with working(nats, database, "leaves"):
                await wait_for(database, BOTH, {"REQ": await publish(connection, bodies[:50])})
                await both_own(database)
            last = await publish(connection, bodies[50:])
            await wait_for(database, BOTH, {"REQ": last}, timeout_s=20)

        assert await dump(database, BOTH) == await expected(servers, nats, last)
        assert await count(database, "workers") == 0


async def both_own(database: PostgresDatabase) -> None:
    for _ in range(100):
        owners = await database.fetch("SELECT DISTINCT owner FROM checkpoints WHERE owner IS NOT NULL")
        if len(owners) == 2:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("one worker owns everything")


async def test_a_view_that_is_complete_stays_fresh_without_new_events(
    servers: ServiceEndpoints, nats: NatsServer
) -> None:
    async with (
        read_models(servers.database) as database,
        connected(nats) as connection,
        working(nats, database, "w"),
    ):
        await wait_for(database, BOTH, {"REQ": await publish(connection, [b"[]"])})
        shown_at = (await read_positions(database, USAGE)).as_of
        await asyncio.sleep(3.5)

        assert (await read_positions(database, USAGE)).as_of - shown_at > timedelta(seconds=1)
