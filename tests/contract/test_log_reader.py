"""Reading and following a stream: in order, nothing missing, whatever happens to the connection or the consumer."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import timedelta

import msgspec
import pytest
from nats.aio.client import Client

from adapters.guarded_writes import GuardedEvents, GuardedWriter
from adapters.jetstream_reads import StoredMessage, last_sequence, read_range
from adapters.log_reader import CaughtUp, LatestTail, read_stream, tail_latest
from adapters.nats_connection import connect_nats
from domain.errors import Unavailable
from tests.contract.conftest import eventually, until
from tests.tcp_proxy import TcpProxy, tcp_proxy


@pytest.fixture
def writer(connection: Client) -> GuardedWriter:
    return GuardedWriter(connection, "EVT")


@pytest.fixture
def kind() -> str:
    """Subjects of this test alone."""
    return f"k{uuid.uuid4().hex}"


@pytest.fixture
async def proxy(nats_url: str) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(nats_url) as proxy:
        yield proxy


@pytest.fixture
async def proxied(proxy: TcpProxy) -> AsyncIterator[Client]:
    client = await connect_nats(proxy.url, "behind the proxy")
    yield client
    await client.close()


async def write(writer: GuardedWriter, subject: str, count: int, expected: int = 0, size: int = 10) -> int:
    """The sequence of the last message."""
    events = [(uuid.uuid4().hex, str(index).zfill(size).encode()) for index in range(count)]
    (last,) = await writer.write([GuardedEvents(subject, expected, events)])
    return last


async def sequences(messages: AsyncGenerator[StoredMessage]) -> list[int]:
    return [message.sequence async for message in messages]


async def test_a_stream_is_read_from_a_start_to_what_was_last(
    connection: Client, writer: GuardedWriter, kind: str
) -> None:
    last = await write(writer, f"evt.1.{kind}.a", 1_000)

    assert await sequences(read_stream(connection, "EVT", start=last - 999)) == list(range(last - 999, last + 1))
    assert await sequences(read_stream(connection, "EVT", start=last - 5, until=last - 3)) == [
        last - 5,
        last - 4,
        last - 3,
    ]
    assert await sequences(read_stream(connection, "EVT", start=last + 1)) == []
    assert await sequences(read_stream(connection, "EVT", start=1, until=last + 1_000)) == list(range(1, last + 1))


async def test_a_message_comes_with_subject_bytes_id_and_time(
    connection: Client, writer: GuardedWriter, kind: str
) -> None:
    (last,) = await writer.write([GuardedEvents(f"evt.1.{kind}.a", 0, [(f"id-{kind}", b"bytes")])])

    (pushed,) = [message async for message in read_stream(connection, "EVT", start=last)]
    (direct,) = [message async for message in read_range(connection, "EVT", start=last, until=last)]

    assert (pushed.sequence, pushed.subject, pushed.raw, pushed.ident) == (
        last,
        f"evt.1.{kind}.a",
        b"bytes",
        f"id-{kind}",
    )
    assert abs(pushed.time.timestamp() - time.time()) < 60
    assert abs(pushed.time - direct.time) <= timedelta(microseconds=1)
    assert msgspec.structs.replace(pushed, time=direct.time) == direct


async def test_one_subject_is_read_alone(connection: Client, writer: GuardedWriter, kind: str) -> None:
    first = await write(writer, f"evt.1.{kind}.a", 3)
    await write(writer, f"evt.1.{kind}.b", 3)
    last = await write(writer, f"evt.1.{kind}.a", 1, first)

    for subject in (f"evt.1.{kind}.a", f"evt.*.{kind}.a"):
        assert await sequences(read_stream(connection, "EVT", subject=subject)) == [first - 2, first - 1, first, last]
    assert await sequences(read_stream(connection, "EVT", subject="evt.none")) == []


async def test_following_goes_on_with_what_is_written_later(
    connection: Client, writer: GuardedWriter, kind: str
) -> None:
    first = await write(writer, f"evt.1.{kind}.a", 2)
    async with aclosing(read_stream(connection, "EVT", start=first - 1, follow=True)) as messages:
        assert [(await anext(messages)).sequence for _ in range(2)] == [first - 1, first]
        later = await write(writer, f"evt.1.{kind}.a", 2, first)
        assert [(await anext(messages)).sequence for _ in range(2)] == [later - 1, later]


async def test_a_message_deleted_meanwhile_does_not_stop_the_reader(connection: Client) -> None:
    jetstream, subject = connection.jetstream(), f"keys.{uuid.uuid4().hex}"
    await jetstream.publish(subject, b"1")
    second = (await jetstream.publish(subject, b"2")).seq

    messages = [message async for message in read_stream(connection, "KEYS", subject=subject)]

    assert [message.sequence for message in messages] == [second]


async def test_cut_connections_neither_lose_nor_repeat_a_message(
    connection: Client, proxied: Client, proxy: TcpProxy, writer: GuardedWriter, kind: str
) -> None:
    last = 0
    for _ in range(10):
        last = await write(writer, f"evt.1.{kind}.a", 1_000, last, size=500)
    seen: list[int] = []
    async for message in read_stream(proxied, "EVT", subject=f"evt.1.{kind}.a"):
        seen.append(message.sequence)
        if len(seen) in (1, 5_000):
            proxy.cut()

    assert len(seen) == 10_000
    assert seen == sorted(set(seen))
    assert seen[-1] == last


async def test_a_consumer_deleted_behind_our_back_is_made_again(
    connection: Client, writer: GuardedWriter, kind: str
) -> None:
    first = await write(writer, f"evt.1.{kind}.a", 1)
    async with aclosing(read_stream(connection, "EVT", start=first, follow=True)) as messages:
        assert (await anext(messages)).sequence == first
        for consumer in await connection.jetstream().consumers_info("EVT"):
            await connection.jetstream().delete_consumer("EVT", consumer.name)
        second = await write(writer, f"evt.1.{kind}.a", 1, first)
        async with asyncio.timeout(8):
            assert (await anext(messages)).sequence == second


async def test_readers_leave_no_consumer_behind(connection: Client, writer: GuardedWriter, kind: str) -> None:
    last = await write(writer, f"evt.1.{kind}.a", 1)
    before = len(await connection.jetstream().consumers_info("EVT"))

    await sequences(read_stream(connection, "EVT", start=last))

    async def gone() -> bool:
        return len(await connection.jetstream().consumers_info("EVT")) <= before

    await eventually(gone)


async def test_a_stream_that_is_not_there_cannot_be_read(connection: Client) -> None:
    with pytest.raises(Unavailable):
        await sequences(read_stream(connection, "NOWHERE"))


class TestTheTailOfWhatIsLatest:
    @pytest.fixture
    def tail(self, proxied: Client, kind: str) -> LatestTail:
        return tail_latest(proxied, "EVT", [f"evt.*.{kind}.>", "evt.*.other.>"])

    async def test_the_latest_of_each_subject_then_a_mark_then_the_news(
        self, tail: LatestTail, writer: GuardedWriter, kind: str
    ) -> None:
        a = await write(writer, f"evt.1.{kind}.a", 5)
        b = await write(writer, f"evt.2.{kind}.b", 5)
        await write(writer, "evt.1.unasked.x" + kind, 1)

        async with aclosing(tail.messages()) as messages:
            assert [await _place(messages) for _ in range(3)] == [a, b, "caught up"]
            c = await write(writer, f"evt.1.{kind}.a", 2, a)
            assert [await _place(messages) for _ in range(2)] == [c - 1, c]

    async def test_where_nothing_is_the_mark_comes_at_once(self, tail: LatestTail) -> None:
        async with aclosing(tail.messages()) as messages:
            assert await anext(messages) == CaughtUp(0)

    async def test_after_an_outage_it_goes_on_without_a_second_mark(
        self, tail: LatestTail, proxy: TcpProxy, writer: GuardedWriter, kind: str
    ) -> None:
        a = await write(writer, f"evt.1.{kind}.a", 2)
        async with aclosing(tail.messages()) as messages:
            assert [await _place(messages) for _ in range(2)] == [a, "caught up"]
            proxy.cut()
            b = await write(writer, f"evt.1.{kind}.a", 3, a)
            assert [await _place(messages) for _ in range(3)] == [b - 2, b - 1, b]

    async def test_it_hears_heartbeats_and_notices_their_absence(
        self, tail: LatestTail, proxy: TcpProxy, writer: GuardedWriter, kind: str
    ) -> None:
        async with aclosing(tail.messages()) as messages:
            await anext(messages)
            waiting = asyncio.ensure_future(anext(messages))
            heard = tail.last_heard
            await until(lambda: tail.last_heard > heard)
            proxy.freeze()
            await asyncio.sleep(1.5)
            assert time.monotonic() - tail.last_heard > 1.2
            proxy.thaw()
            a = await write(writer, f"evt.1.{kind}.a", 1)
            message = await waiting
        assert isinstance(message, StoredMessage)
        assert message.sequence == a


async def _place(messages: AsyncGenerator[StoredMessage | CaughtUp]) -> int | str:
    message = await anext(messages)
    return "caught up" if isinstance(message, CaughtUp) else message.sequence


async def test_the_last_sequence_is_the_leaders(connection: Client, writer: GuardedWriter, kind: str) -> None:
    for _ in range(20):
        last = await write(writer, f"evt.1.{kind}.{uuid.uuid4().hex}", 1)
        assert await last_sequence(connection, "EVT") == last
