"""What every EventLog promises, held against the fake, one server and a cluster: they differ beneath."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import msgspec
import pytest

from adapters.in_memory import InMemoryEventLog
from adapters.jetstream_event_log import JetStreamEventLog
from adapters.nats_connection import connect_nats
from domain.aggregate import Address
from domain.errors import ConcurrentWrite
from domain.events import Envelope
from domain.ports import Append, EventLog
from tests.contract.conftest import DEPLOYMENTS

AT = datetime(2026, 1, 1, tzinfo=UTC)
Event = tuple[str, bytes]


@pytest.fixture(params=["in memory", *DEPLOYMENTS])
def deployment(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def log(deployment: str, request: pytest.FixtureRequest) -> AsyncIterator[EventLog]:
    if deployment == "in memory":
        yield InMemoryEventLog()
        return
    client = await connect_nats(request.getfixturevalue("nats_url"), "test")
    await request.getfixturevalue("declared_streams")(client)
    yield JetStreamEventLog(client)
    await client.close()


def somewhere(kind: str = "ledger") -> Address:
    return Address(kind, uuid.uuid4().hex, 7)


def events(count: int = 1, data: bytes = b"{}") -> list[Event]:
    return [_event(uuid.uuid4().hex, data) for _ in range(count)]


def _event(ident: str, data: bytes = b"{}") -> Event:
    envelope = Envelope(
        specversion="1.0",
        id=ident,
        source="/tests",
        type="test.happened.v1",
        subject="test/1",
        time=AT,
        accountid="acc",
        sequence=1,
        data=msgspec.Raw(data),
    )
    return ident, msgspec.json.encode(envelope)


def idents(given: Sequence[Event]) -> list[str]:
    return [ident for ident, _ in given]


async def stored(log: EventLog, address: Address) -> list[str]:
    return [recorded.envelope.id for recorded in await log.history(address)]


async def test_nothing_is_there_before_the_first_append(log: EventLog) -> None:
    assert await log.last(somewhere()) is None
    assert await log.history(somewhere()) == []


async def test_an_append_is_read_back_at_its_position_with_its_bytes(log: EventLog) -> None:
    address, (event,) = somewhere(), events()

    (position,) = await log.append([Append(address, 0, [event])])

    last = await log.last(address)
    assert last is not None
    assert (last.position, last.envelope.id, last.raw) == (position, *event)


async def test_history_holds_every_event_in_order_after_a_position(log: EventLog) -> None:
    address, given = somewhere(), events(600)
    (middle,) = await log.append([Append(address, 0, given[:300])])
    await log.append([Append(somewhere(), 0, events(3))])
    (last,) = await log.append([Append(address, middle, given[300:])])

    assert await stored(log, address) == idents(given)
    assert [each.envelope.id for each in await log.history(address, middle)] == idents(given[300:])
    assert await log.history(address, last) == []


async def test_no_appends_are_no_write(log: EventLog) -> None:
    assert await log.append([]) == []


async def test_a_stale_guard_is_refused_and_nothing_is_written(log: EventLog) -> None:
    address, first = somewhere(), events()
    (position,) = await log.append([Append(address, 0, first)])
    second = events()
    await log.append([Append(address, position, second)])

    for stale in (0, position):
        with pytest.raises(ConcurrentWrite):
            await log.append([Append(address, stale, events())])

    assert await stored(log, address) == idents([*first, *second])


async def test_a_guard_that_the_log_never_reached_is_refused(log: EventLog) -> None:
    with pytest.raises(ConcurrentWrite):
        await log.append([Append(somewhere(), 1_000_000_000, events())])


@pytest.mark.parametrize("count", [1, 3])
async def test_of_twenty_racers_exactly_one_wins(log: EventLog, count: int) -> None:
    address, entries = somewhere(), [events(count) for _ in range(20)]

    results = await asyncio.gather(
        *(log.append([Append(address, 0, entry)]) for entry in entries), return_exceptions=True
    )

    winners = [entry for entry, result in zip(entries, results, strict=True) if isinstance(result, list)]
    assert len(winners) == 1
    assert sum(isinstance(result, ConcurrentWrite) for result in results) == 19
    assert await stored(log, address) == idents(winners[0])


@pytest.mark.parametrize("count", [1, 3])
async def test_the_same_append_again_succeeds_without_a_second_write(log: EventLog, count: int) -> None:
    address, given = somewhere(), events(count)
    written = await log.append([Append(address, 0, given)])

    assert await log.append([Append(address, 0, given)]) == written

    assert await stored(log, address) == idents(given)


@pytest.mark.parametrize("count", [1, 3])
async def test_the_same_append_again_succeeds_when_somebody_appended_on_top(log: EventLog, count: int) -> None:
    address, given, other = somewhere(), events(count), events(2)
    written = await log.append([Append(address, 0, given)])
    await log.append([Append(address, written[0], other)])

    assert await log.append([Append(address, 0, given)]) == written

    assert await stored(log, address) == idents([*given, *other])


async def test_two_at_once_with_the_same_ids_both_succeed_with_one_write(log: EventLog) -> None:
    for count in (1, 3):
        address, given = somewhere(), events(count)

        first, second = await asyncio.gather(*(log.append([Append(address, 0, given)]) for _ in range(2)))

        assert first == second
        assert await stored(log, address) == idents(given)


async def test_the_id_of_a_refused_event_may_be_used_later(log: EventLog) -> None:
    address, given = somewhere(), events()
    (position,) = await log.append([Append(address, 0, events())])
    with pytest.raises(ConcurrentWrite):
        await log.append([Append(address, 0, given)])

    await log.append([Append(address, position, given)])

    assert (await stored(log, address))[1:] == idents(given)


async def test_several_aggregates_are_written_together(log: EventLog) -> None:
    places, parts = [somewhere("user"), somewhere("account"), somewhere("claim")], [events(2), events(1), events(3)]
    appends = [Append(place, 0, part) for place, part in zip(places, parts, strict=True)]

    positions = await log.append(appends)

    for place, part, position in zip(places, parts, positions, strict=True):
        assert await stored(log, place) == idents(part)
        last = await log.last(place)
        assert last is not None
        assert last.position == position
    assert await log.append(appends) == positions


async def test_a_conflict_in_the_third_aggregate_leaves_nothing_of_the_others(log: EventLog) -> None:
    places, taken = [somewhere(), somewhere(), somewhere()], events()
    await log.append([Append(places[2], 0, taken)])

    with pytest.raises(ConcurrentWrite):
        await log.append([Append(place, 0, events(2)) for place in places])

    assert [await stored(log, place) for place in places] == [[], [], idents(taken)]


async def test_an_append_holds_a_thousand_events_and_no_more(log: EventLog) -> None:
    address, given = somewhere(), events(1_000)
    with pytest.raises(ValueError, match="1001 events"):
        await log.append([Append(address, 0, [*given, *events()])])

    await log.append([Append(address, 0, given)])

    assert await stored(log, address) == idents(given)


async def test_an_append_that_contradicts_itself_is_refused(log: EventLog) -> None:
    address, given = somewhere(), events()
    for nonsense in (
        [Append(address, 0, [])],
        [Append(address, 0, [*given, *given])],
        [Append(address, 0, given), Append(address, 0, events())],
    ):
        with pytest.raises(ValueError, match="an append"):
            await log.append(nonsense)


async def test_two_hundred_writers_of_one_aggregate_each_get_their_turn(log: EventLog) -> None:
    address = somewhere()

    async def write(event: Event) -> None:
        while True:
            last = await log.last(address)
            try:
                await log.append([Append(address, last.position if last else 0, [event])])
                return
            except ConcurrentWrite:
                await asyncio.sleep(0)

    given = events(40)
    await asyncio.gather(*(write(event) for event in given))

    assert sorted(await stored(log, address)) == sorted(idents(given))
