"""Claims of a stream share a feed and a commit once they have caught up, and are strangers in everything else."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from adapters.endpoints import ServiceEndpoints
from adapters.postgres import PostgresDatabase
from domain.ports import Connection
from projections import work
from projections.checkpoints import claim_share, create_missing
from projections.fold import Folder
from projections.ledger_entries import LEDGER_ENTRIES
from projections.logins import LOGINS
from projections.positions import read_positions
from projections.projection import Projection
from projections.read_models import READ_MODELS
from projections.requests import REQUESTS
from projections.strand import Strand
from projections.usage import USAGE
from projections.work import Worker
from tests.histories import ListedFeed, ListedLog, everyday_story, request_messages
from tests.integration.test_folding import build, wait_for_all
from tests.read_models import count, dump, read_models

BOTH = (USAGE, REQUESTS)
PATIENCE_POLLS = 2000


@pytest_asyncio.fixture
async def database(servers: ServiceEndpoints) -> AsyncGenerator[PostgresDatabase]:
    async with read_models(servers.database) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _claims_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "CLAIM_EVERY_S", 0.02)


class CountingLog(ListedLog):
    """Knows how many feeds of each stream are open."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.feeds = {"EVT": 0, "REQ": 0}

    @asynccontextmanager
    async def open(self, stream: str, after: int) -> AsyncGenerator["ListedFeed"]:
        self.feeds[stream] += 1
        try:
            async with super().open(stream, after) as feed:
                yield feed
        finally:
            self.feeds[stream] -= 1


@asynccontextmanager
async def working(
    database: PostgresDatabase, log: ListedLog, projections: Sequence[Projection[Any]]
) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(Worker("w", projections, database, log).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def until(what: Callable[[], bool]) -> None:
    for _ in range(PATIENCE_POLLS):
        if what():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come about")


async def test_all_read_models_follow_a_stream_by_one_feed_and_are_the_same(servers: ServiceEndpoints) -> None:
    messages = [*await everyday_story(), *request_messages(1500)]
    begun = [message for message in messages if message.position <= 20]
    rest = [message for message in messages if message.position > 20]
    async with read_models(servers.database) as apart, read_models(servers.database) as together:
        await build(apart, ListedLog(messages), READ_MODELS)
        log = CountingLog(begun, chunk=7)
        async with working(together, log, READ_MODELS):
            await until(lambda: log.feeds == {"EVT": 1, "REQ": 1})
            for message in rest:
                log.messages[message.stream].append(message)
            ends = {stream: len(listed) for stream, listed in log.messages.items()}
            await wait_for_all(together, READ_MODELS, ends)

        assert await dump(together) == await dump(apart)


async def test_claims_that_stand_apart_are_folded_together_from_the_one_behind(servers: ServiceEndpoints) -> None:
    story, pair = await everyday_story(), (LEDGER_ENTRIES, LOGINS)
    async with read_models(servers.database) as apart, read_models(servers.database) as together:
        await build(apart, ListedLog(story), pair)
        await build(together, ListedLog(story[: len(story) // 2]), (LEDGER_ENTRIES,))
        await create_missing(together, pair)
        claims = await claim_share(together, "w", ["ledger_entries", "logins"])
        by_name = {projection.name: projection for projection in pair}
        strands = [Strand(by_name[claim.projection], claim) for claim in claims]
        folding = asyncio.create_task(Folder(strands, together, ListedLog(story, chunk=9)).run())
        await wait_for_all(together, pair, {"EVT": len(story)})
        folding.cancel()
        await asyncio.wait([folding])

        assert await dump(together, pair) == await dump(apart, pair)
        assert await count(together, "parked_events") == 0


async def test_one_that_has_to_catch_up_holds_no_other_up(database: PostgresDatabase) -> None:
    log = ListedLog(request_messages(800), chunk=1)
    await build(database, ListedLog(log.messages["REQ"]), (USAGE,))

    async def drag(_connection: Connection, _rows: Any) -> None:
        await asyncio.sleep(0.2)

    slow = Projection(name="slow", streams=("REQ",), facts=USAGE.facts, fold=USAGE.fold, write=drag, tables=())
    await create_missing(database, (slow,))
    async with working(database, log, (USAGE, slow)):
        await wait_for_all(database, (slow,), {"REQ": 2})
        end = log.add("REQ", b"[]")
        await wait_for_all(database, (USAGE,), {"REQ": end})

        assert (await read_positions(database, slow)).positions["REQ"] < end


async def _breaks(_connection: Connection, _rows: Any) -> None:
    raise LookupError("a mistake in this projection")


async def test_a_projection_with_a_mistake_holds_no_other_up(database: PostgresDatabase) -> None:
    messages = request_messages(800)
    broken = Projection(
        name="broken", streams=("REQ",), facts=REQUESTS.facts, fold=REQUESTS.fold, write=_breaks, tables=()
    )
    log = CountingLog()
    async with working(database, log, (USAGE, broken)):
        await until(lambda: log.feeds["REQ"] == 1)
        log.messages["REQ"].extend(messages)
        await wait_for_all(database, (USAGE,), {"REQ": len(messages)})

    assert await count(database, "usage") > 0
    assert (await read_positions(database, broken)).positions == {"REQ": 0}


async def test_rows_that_a_crash_of_the_database_took_back_are_written_again(servers: ServiceEndpoints) -> None:
    messages = request_messages(800)
    async with read_models(servers.database) as calm, read_models(servers.database) as crashed:
        await build(calm, ListedLog(messages))
        log = CountingLog(messages)
        async with working(crashed, log, BOTH):
            await wait_for_all(crashed, BOTH, {"REQ": len(messages)})
            await until(lambda: log.feeds["REQ"] == 1)
            await lose_everything(crashed)
            await wait_for_all(crashed, BOTH, {"REQ": len(messages)})

        assert await dump(crashed, BOTH) == await dump(calm, BOTH)


async def lose_everything(database: PostgresDatabase) -> None:
    async with database.transaction() as connection:
        await connection.execute("UPDATE checkpoints SET position = 0")
        for table in ("usage", "requests", "request_attempts", "open_requests", "writer_positions"):
            await connection.execute(f"DELETE FROM {table}")


async def test_a_commit_of_rows_does_not_wait_for_the_disk(database: PostgresDatabase) -> None:
    seen: set[str] = set()

    async def write(connection: Connection, _rows: Any) -> None:
        seen.update(row["synchronous_commit"] for row in await connection.fetch("SHOW synchronous_commit"))

    spied = Projection(name="spied", streams=("REQ",), facts=USAGE.facts, fold=USAGE.fold, write=write, tables=())
    await build(database, ListedLog(request_messages(100)), (spied,))

    assert seen == {"off"}
