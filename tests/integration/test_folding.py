"""Rows and position move together: whatever dies, whoever rivals, nothing is lost and nothing counts twice."""

import asyncio
import random
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from adapters.endpoints import ServiceEndpoints
from adapters.postgres import PostgresConnection, PostgresDatabase
from bench.synthetic import as_message, envelope
from domain.errors import Unavailable
from domain.ports import Connection, Database, LogMessage, Row, RowsRefused
from projections.checkpoints import MOVE, Fenced, claim_share, create_missing, split
from projections.fold import STALLED_CHECKS, Folder
from projections.parked import list_parked
from projections.positions import read_positions, wait_for
from projections.projection import Claim, Projection
from projections.read_models import READ_MODELS
from projections.requests import REQUESTS
from projections.strand import Strand
from projections.usage import USAGE
from tests.histories import ListedFeed, ListedLog, everyday_story, request_messages
from tests.read_models import count, dump, read_models
from tests.unit.test_intake import some_requests

BOTH = (USAGE, REQUESTS)
PATIENCE_S = 5


@pytest_asyncio.fixture
async def database(servers: ServiceEndpoints) -> AsyncGenerator[PostgresDatabase]:
    async with read_models(servers.database) as opened:
        yield opened


class Died(Exception):
    """A folder was cut off."""


async def build(
    database: Database, log: ListedLog, projections: Sequence[Projection[Any]] = BOTH, worker: str = "w"
) -> None:
    """Fold everything there is, as one worker."""
    await create_missing(database, projections)
    claims = await claim_share(database, worker, [projection.name for projection in projections])
    await fold_all(database, log, projections, claims)


async def fold_all(
    database: Database, log: ListedLog, projections: Sequence[Projection[Any]], claims: Iterable[Claim]
) -> None:
    by_name = {projection.name: projection for projection in projections}
    folders = [Folder([Strand(by_name[claim.projection], claim)], database, log) for claim in claims]
    tasks = [asyncio.create_task(folder.run()) for folder in folders]
    ends = {stream: len(messages) for stream, messages in log.messages.items()}
    waiting = asyncio.create_task(wait_for_all(database, projections, ends))
    try:
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    if not waiting.done():
        waiting.cancel()
        raise next((outcome for outcome in outcomes if isinstance(outcome, Exception)), Died())
    await waiting


async def wait_for_all(database: Database, projections: Sequence[Projection[Any]], ends: dict[str, int]) -> None:
    """Of the streams themselves: no settlement runs here."""
    for _ in range(2000):
        reached = [(await read_positions(database, projection)).positions for projection in projections]
        if all(ends[stream] <= position for positions in reached for stream, position in positions.items()):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not reached")


@pytest.mark.parametrize("chunk", [1, 7])
async def test_a_rebuild_leaves_the_same_tables_however_the_log_arrives(servers: ServiceEndpoints, chunk: int) -> None:
    messages = [*await everyday_story(), *request_messages(1500)]
    async with read_models(servers.database) as once, read_models(servers.database) as again:
        await build(once, ListedLog(messages), READ_MODELS)
        await build(again, ListedLog(messages, chunk=chunk), READ_MODELS)

        assert await dump(once) == await dump(again)
        assert await count(once, "ledger_entries") == 20
        assert await count(once, "requests") > 700
        assert await count(once, "event_archive") == len(messages)


async def test_the_archive_holds_every_message_byte_for_byte(database: PostgresDatabase) -> None:
    messages = [*await everyday_story(), *request_messages(64)]
    await build(database, ListedLog(messages), READ_MODELS)
    rows = await database.fetch("SELECT * FROM event_archive ORDER BY stream, position")

    assert [(row["stream"], row["position"], row["subject"], row["raw"]) for row in rows] == [
        (message.stream, message.position, message.subject, message.raw) for message in messages
    ]


class CutsOff:
    """A database of which the task that folds dies right after a transaction, before it knows."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[PostgresConnection]:
        async with self._database.transaction() as connection:
            yield connection
        if random.random() < 0.3:
            raise asyncio.CancelledError

    async def fetch(self, query: str, *args: object) -> list[Row]:
        return await self._database.fetch(query, *args)


async def test_a_crash_between_a_commit_and_knowing_of_it_costs_nothing(servers: ServiceEndpoints) -> None:
    messages = request_messages(2000)
    async with read_models(servers.database) as calm, read_models(servers.database) as troubled:
        await build(calm, ListedLog(messages))
        await create_missing(troubled, BOTH)
        claims = await claim_share(troubled, "w", [projection.name for projection in BOTH])
        crashes, done = 0, False
        while not done:
            crashes += 1
            with suppress(Died):
                await fold_all(CutsOff(troubled), ListedLog(messages, chunk=5), BOTH, claims)
                done = True

        assert crashes > 1
        assert await dump(troubled, BOTH) == await dump(calm, BOTH)


class Forgetful:
    """A database that commits and then says it did not, now and then, and sometimes does not."""

    def __init__(self, database: PostgresDatabase, seed: int) -> None:
        self._database = database
        self._random = random.Random(seed)
        self.outages = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[PostgresConnection]:
        async with self._database.transaction() as connection:
            yield connection
            self._fail(0.1)
        self._fail(0.1)

    async def fetch(self, query: str, *args: object) -> list[Row]:
        return await self._database.fetch(query, *args)

    def _fail(self, chance: float) -> None:
        if self._random.random() < chance:
            self.outages += 1
            raise Unavailable("lost")


async def test_a_commit_whose_outcome_is_unknown_counts_once(
    servers: ServiceEndpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.fold.RETRY_S", (0.0,))
    messages = request_messages(2000)
    async with read_models(servers.database) as calm, read_models(servers.database) as shaky:
        await build(calm, ListedLog(messages))
        forgetful = Forgetful(shaky, seed=5)
        await create_missing(shaky, BOTH)
        claims = await claim_share(shaky, "w", [projection.name for projection in BOTH])
        await fold_all(forgetful, ListedLog(messages, chunk=3), BOTH, claims)

        assert forgetful.outages > 3
        assert await dump(shaky, BOTH) == await dump(calm, BOTH)


async def test_two_rivals_on_one_checkpoint_lose_and_double_nothing(servers: ServiceEndpoints) -> None:
    messages = request_messages(3000)
    async with read_models(servers.database) as alone, read_models(servers.database) as rivalled:
        await build(alone, ListedLog(messages))
        await create_missing(rivalled, BOTH)
        claims = await claim_share(rivalled, "same name", [projection.name for projection in BOTH])

        async def rival(chunk: int) -> None:
            while True:
                with suppress(Fenced):
                    return await fold_all(rivalled, ListedLog(messages, chunk=chunk), BOTH, claims)

        await asyncio.gather(rival(3), rival(4), rival(5))

        assert await dump(rivalled, BOTH) == await dump(alone, BOTH)


async def test_an_owner_that_was_replaced_is_fenced_before_it_writes(database: PostgresDatabase) -> None:
    messages = request_messages(200)
    await create_missing(database, BOTH)
    claims = await claim_share(database, "old", ["usage", "requests"])
    async with database.transaction() as connection:
        await connection.execute("UPDATE checkpoints SET owner = 'new'")

    with pytest.raises(Fenced):
        await fold_all(database, ListedLog(messages), BOTH, claims)

    assert await count(database, "usage") == 0


async def test_a_message_written_twice_counts_once(servers: ServiceEndpoints) -> None:
    messages = request_messages(800)
    doubled = ListedLog()
    for message in messages:
        for _ in range(random.Random(message.position).randint(1, 3)):
            doubled.add("REQ", message.raw)
    async with read_models(servers.database) as plain, read_models(servers.database) as repeated:
        await build(plain, ListedLog(messages))
        await build(repeated, ListedLog(doubled.messages["REQ"], chunk=2))

        assert await dump(repeated, (USAGE,)) == await dump(plain, (USAGE,))
        assert await count(repeated, "requests") == await count(plain, "requests")


async def test_an_event_the_database_refuses_is_parked_with_its_account_and_the_rest_goes_on(
    database: PostgresDatabase,
) -> None:
    messages = request_messages(2000)
    poisoned = ListedLog(messages[:40])
    (bad, _), (good, good_end) = next(
        (one, two) for one in some_requests(9) for two in some_requests(9) if one[0].account_id != two[0].account_id
    )
    nul = msgspec.structs.replace(bad, request_id="zero", model="a\x00b")
    later = msgspec.structs.replace(bad, request_id="later")
    sound, sound_end = (msgspec.structs.replace(fact, request_id="sound") for fact in (good, good_end))
    body = [envelope(fact, "/x", number) for number, fact in enumerate((sound, nul, later, sound_end), 1)]
    place = poisoned.add("REQ", msgspec.json.encode(body))
    await build(database, poisoned, (REQUESTS,))

    (parked,) = await list_parked(database)
    assert (parked.account_id, parked.events, parked.position) == (bad.account_id, 2, place)
    assert "0x00" in parked.error
    statuses = await database.fetch(
        "SELECT request_id, status FROM requests WHERE request_id = ANY($1::text[])", ["zero", "later", "sound"]
    )
    assert [tuple(row.values()) for row in statuses] == [("sound", "completed")]
    assert (await read_positions(database, REQUESTS)).positions == {"REQ": place}


class Refuses:
    """A database that refuses to move a checkpoint so many times."""

    def __init__(self, database: PostgresDatabase, times: int) -> None:
        self._database = database
        self.times = times

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        async with self._database.transaction() as connection:
            yield _RefusingConnection(connection, self)

    async def fetch(self, query: str, *args: object) -> list[Row]:
        return await self._database.fetch(query, *args)


class _RefusingConnection:
    def __init__(self, connection: PostgresConnection, refuses: Refuses) -> None:
        self.execute, self.copy = connection.execute, connection.copy
        self._connection = connection
        self._refuses = refuses

    async def fetch(self, query: str, *args: object) -> list[Row]:
        if query == MOVE and self._refuses.times:
            self._refuses.times -= 1
            raise RowsRefused(f"no\n{self._refuses.times} to go")
        return await self._connection.fetch(query, *args)


class NoPauses(tuple[float, ...]):
    """Five of no length, that know when they were asked for."""

    def __new__(cls) -> "NoPauses":
        pauses = super().__new__(cls, (0.0,) * 5)
        pauses.asked = []
        return pauses

    asked: list[int]

    def __getitem__(self, place: Any) -> Any:
        self.asked.append(place)
        return super().__getitem__(place)


async def test_a_refused_checkpoint_is_tried_ever_more_seldom_told_once_and_then_forgotten(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = NoPauses()
    monkeypatch.setattr("projections.fold.RETRY_S", pauses)
    await create_missing(database, (USAGE,))
    claims = await claim_share(database, "w", ["usage"])
    refuses, log = Refuses(database, 7), ListedLog(request_messages(200, batch=4), chunk=5)
    with capture_logs() as told:
        await fold_all(refuses, log, (USAGE,), claims)

    assert pauses.asked == [0, 1, 2, 3, 4, 4, 4]
    assert [entry["event"] for entry in told] == ["projection_restarts"]
    assert await list_parked(database) == []


async def test_what_is_parked_stays_parked_after_a_restart(database: PostgresDatabase) -> None:
    ((admitted, end),) = some_requests(1)
    strange = msgspec.structs.replace(envelope(admitted, "/w", 1), type="request.teleported.v9")
    log = ListedLog()
    log.add("REQ", msgspec.json.encode([strange]))
    await build(database, log)
    log.add("REQ", as_message([admitted, end], "/w", 2))
    await build(database, log)

    assert [(parked.projection, parked.events) for parked in await list_parked(database)] == [
        ("requests", 3),
        ("usage", 3),
    ]
    assert await count(database, "usage") == 0


async def test_a_range_that_is_split_goes_on_where_it_was(servers: ServiceEndpoints) -> None:
    messages = request_messages(2000)
    async with read_models(servers.database) as whole, read_models(servers.database) as parted:
        await build(whole, ListedLog(messages))
        log = ListedLog(messages[:60])
        await build(parted, log)
        for projection in BOTH:
            await split(parted, Claim(projection.name, "REQ", 0, 256, "w"), at=100)
        log.messages["REQ"].extend(messages[60:])
        await build(parted, log)

        assert await count(parted, "checkpoints") == 4
        assert await dump(parted, BOTH) == await dump(whole, BOTH)
        assert await count(parted, "open_requests") == await count(whole, "open_requests")


class Stalls(ListedLog):
    """A feed that goes silent after some messages though the stream goes on."""

    most_takes = 0

    @asynccontextmanager
    async def open(self, stream: str, after: int) -> AsyncGenerator["ListedFeed"]:
        self.opened += 1
        yield _SilentFeed(self, stream, after)


class _SilentFeed(ListedFeed):
    taken = 0

    async def take(self, timeout_s: float) -> list[LogMessage]:
        self.taken += 1
        assert isinstance(self._log, Stalls)
        self._log.most_takes = max(self._log.most_takes, self.taken)
        if self.taken > 3:
            await asyncio.sleep(0.01)
            return []
        return await super().take(timeout_s)


async def test_a_feed_that_stalls_is_replaced(database: PostgresDatabase) -> None:
    log = Stalls(request_messages(400, batch=4), chunk=8)
    await build(database, log, (USAGE,))

    assert log.opened > 1
    assert log.most_takes == 3 + STALLED_CHECKS
    assert (await read_positions(database, USAGE)).positions == {"REQ": len(log.messages["REQ"])}


class Tardy(ListedLog):
    """Each feed gives nothing for longer than a stall takes to be noticed, then all."""

    @asynccontextmanager
    async def open(self, stream: str, after: int) -> AsyncGenerator["ListedFeed"]:
        self.opened += 1
        yield _TardyFeed(self, stream, after)


class _TardyFeed(ListedFeed):
    silent_for = 4 * STALLED_CHECKS

    async def take(self, timeout_s: float) -> list[LogMessage]:
        if self.silent_for:
            self.silent_for -= 1
            return []
        return await super().take(timeout_s)


async def test_a_feed_that_is_slow_to_begin_is_given_longer_each_time(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.fold.RETRY_S", (0.0,))
    log = Tardy(request_messages(400))
    await build(database, log, (USAGE,))

    assert log.opened == 4
    assert (await read_positions(database, USAGE)).positions == {"REQ": len(log.messages["REQ"])}


class Holes(ListedLog):
    """A feed that once leaves out a message."""

    left_out = False

    @asynccontextmanager
    async def open(self, stream: str, after: int) -> AsyncGenerator["ListedFeed"]:
        self.opened += 1
        yield _HoleFeed(self, stream, after)


class _HoleFeed(ListedFeed):
    async def take(self, timeout_s: float) -> list[LogMessage]:
        messages = await super().take(timeout_s)
        log = self._log
        if isinstance(log, Holes) and not log.left_out and len(messages) > 2:
            log.left_out = True
            return [messages[0], *messages[2:]]
        return messages


async def test_a_message_left_out_is_noticed(servers: ServiceEndpoints) -> None:
    messages = request_messages(400)
    async with read_models(servers.database) as whole, read_models(servers.database) as holed:
        await build(whole, ListedLog(messages))
        log = Holes(messages, chunk=8)
        await build(holed, log, (USAGE,))

        assert log.opened == 2
        assert await dump(holed, (USAGE,)) == await dump(whole, (USAGE,))


async def test_workers_share_the_checkpoints_and_inherit_them(database: PostgresDatabase) -> None:
    names = [projection.name for projection in READ_MODELS]
    await create_missing(database, READ_MODELS)
    alone = await claim_share(database, "a", names)
    await claim_share(database, "b", names)
    first = await claim_share(database, "a", names)
    second = await claim_share(database, "b", names)

    everything = sum(len(projection.streams) for projection in READ_MODELS)
    assert len(alone) == everything
    assert sorted((len(first), len(second))) == [everything // 2, everything - everything // 2]
    assert not {(claim.projection, claim.stream) for claim in first} & {
        (claim.projection, claim.stream) for claim in second
    }

    async with database.transaction() as connection:
        await connection.execute("UPDATE workers SET seen_until = now() - interval '1 s' WHERE worker = 'a'")
        await connection.execute("UPDATE checkpoints SET owned_until = now() - interval '1 s' WHERE owner = 'a'")

    assert len(await claim_share(database, "b", names)) == everything


async def test_waiting_for_a_position_ends_also_for_messages_that_change_nothing(database: PostgresDatabase) -> None:
    log = ListedLog(await everyday_story())
    for _ in range(3):
        log.add("REQ", b"[]")
    await build(database, log)

    await wait_for(database, BOTH, {"REQ": 3, "EVT": 999}, timeout_s=1)


class Slow(ListedLog):
    """The last message is followed by a hole while the commit before still runs."""

    @asynccontextmanager
    async def open(self, stream: str, after: int) -> AsyncGenerator["ListedFeed"]:
        yield _SlowFeed(self, stream, after)


class _SlowFeed(ListedFeed):
    async def take(self, timeout_s: float) -> list[LogMessage]:
        messages = await super().take(timeout_s)
        await asyncio.sleep(0.02)
        return messages if self._next <= 4 else messages[1:]


class SlowToCommit(CutsOff):
    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[PostgresConnection]:
        async with self._database.transaction() as connection:
            yield connection
        try:
            await asyncio.sleep(0.3)
        except asyncio.CancelledError:
            await asyncio.sleep(0.3)  # ends late


async def test_a_folder_that_is_cancelled_while_it_gives_up_ends(database: PostgresDatabase) -> None:
    await create_missing(database, (USAGE,))
    (claim,) = await claim_share(database, "w", ["usage"])
    log = Slow(request_messages(200), chunk=4)
    folding = asyncio.create_task(Folder([Strand(USAGE, claim)], SlowToCommit(database), log).run())
    await asyncio.sleep(0.5)
    folding.cancel()

    done, _ = await asyncio.wait([folding], timeout=5)

    assert done and folding.cancelled()


class Deaf(ListedLog):
    """Its feed swallows a cancellation, as `asyncio.wait_for` may."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()

    @asynccontextmanager
    async def open(self, stream: str, after: int) -> AsyncGenerator["ListedFeed"]:
        yield _DeafFeed(self, stream, after)


class _DeafFeed(ListedFeed):
    async def take(self, timeout_s: float) -> list[LogMessage]:
        assert isinstance(self._log, Deaf)
        if self._log.entered.is_set():
            await asyncio.sleep(PATIENCE_S)
        self._log.entered.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE_S)
        return []


async def test_a_cancellation_that_a_library_swallows_ends_a_folder_all_the_same(database: PostgresDatabase) -> None:
    await create_missing(database, (USAGE,))
    (claim,) = await claim_share(database, "w", ["usage"])
    log = Deaf()
    folding = asyncio.create_task(Folder([Strand(USAGE, claim)], database, log).run())
    await log.entered.wait()
    folding.cancel()

    ended, _ = await asyncio.wait([folding], timeout=PATIENCE_S)
    folding.cancel()
    assert ended == {folding}
