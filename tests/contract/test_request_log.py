"""What the request log promises: group commit loses nothing that it took, and takes no work it cannot record."""

import asyncio
import itertools
import signal
import socket
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client

from adapters.in_memory import InMemoryRequestLog
from adapters.jetstream_request_log import GroupCommitRequestLog
from adapters.log_reader import read_stream
from adapters.nats_connection import connect_nats
from domain.errors import Busy, OutcomeUnknown, Unavailable
from domain.events import Envelope, decode_batch, decode_fact
from domain.ids import AccountId, LeaseId, RequestId
from domain.ports import RequestLog
from domain.request import RequestAdmitted, RequestCompleted, RequestFailed
from migrations.streams import apply_streams
from tests.contract.conftest import DEPLOYMENTS, eventually, until
from tests.nats_cluster import NatsNode, single_node, three_nodes
from tests.tcp_proxy import TcpProxy, tcp_proxy

AT = datetime(2026, 1, 1, tzinfo=UTC)


def _common(request: str) -> dict[str, Any]:
    return {
        "request_id": RequestId(request),
        "account_id": AccountId("acc"),
        "at": AT,
        "lease_id": LeaseId("lease"),
        "model": "gpt-4o",
        "provider": "openai",
        "price_id": "price",
    }


def admitted(request: str) -> RequestAdmitted:
    return RequestAdmitted(
        **_common(request),
        endpoint="chat.completions",
        upstream_model="gpt-4o",
        reserved_nanos=10,
        input_estimate=1,
        input_estimate_nanos=1,
    )


def completed(request: str, usage: bytes = b"null") -> RequestCompleted:
    return RequestCompleted(**_common(request), cost_nanos=7, evidence="reported", usage=msgspec.Raw(usage))


@pytest.fixture
def worker() -> str:
    return f"w-{uuid.uuid4().hex}"


@asynccontextmanager
async def request_log(connection: Client, worker: str, **options: Any) -> AsyncGenerator[GroupCommitRequestLog]:
    log = GroupCommitRequestLog(connection, worker, **options)
    await log.open()
    try:
        yield log
    finally:
        await log.close(deadline_s=0.1)


async def recorded(connection: Client, worker: str) -> list[Envelope]:
    """What a reader keeps of a worker's events: each (source, sequence) once."""
    seen: dict[int, Envelope] = {}
    async for message in read_stream(connection, "REQ"):
        for envelope in decode_batch(message.raw):
            if envelope.source == f"/workers/{worker}":
                seen.setdefault(envelope.sequence, envelope)
    return list(seen.values())


def requests(envelopes: Sequence[Envelope]) -> list[str]:
    return [envelope.subject.removeprefix("request/") for envelope in envelopes]


class TestEveryRequestLog:
    @pytest.fixture(params=["in memory", *DEPLOYMENTS])
    def deployment(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    async def log(self, deployment: str, worker: str, request: pytest.FixtureRequest) -> AsyncIterator[RequestLog]:
        if deployment == "in memory":
            yield InMemoryRequestLog()
            return
        client = await connect_nats(request.getfixturevalue("nats_url"), "test")
        await request.getfixturevalue("declared_streams")(client)
        async with request_log(client, worker) as log:
            yield log
        await client.close()

    async def test_positions_grow(self, log: RequestLog) -> None:
        positions = [await log.append(event) for event in (admitted("r"), completed("r"), admitted("s"))]

        assert positions == sorted(set(positions))
        assert positions[0] > 0


async def test_an_event_comes_back_as_it_was_in_an_envelope(connection: Client, worker: str) -> None:
    event = completed("r", b'{"prompt_tokens":12, "odd": "\\u00e9"}')
    async with request_log(connection, worker) as log:
        position = await log.append(event)

    (envelope,) = await recorded(connection, worker)
    assert decode_fact(envelope) == event
    assert (envelope.id, envelope.source, envelope.sequence) == (f"{worker}/1", f"/workers/{worker}", 1)
    assert (envelope.type, envelope.subject, envelope.accountid) == ("request.completed.v1", "request/r", "acc")
    stored = await connection.jetstream().get_msg("REQ", seq=position)
    assert stored.subject == "req.0"
    assert stored.headers is not None
    assert stored.headers["content-type"] == "application/cloudevents-batch+json"


async def test_concurrent_appends_share_few_messages_and_keep_their_order(connection: Client, worker: str) -> None:
    sizes: list[int] = []

    def count(size: int, latency_s: float) -> None:
        assert 0 < latency_s < 1
        sizes.append(size)

    async with request_log(connection, worker, on_publish=count) as log:
        names = [f"r{index}" for index in range(64)]
        positions = await asyncio.gather(*(log.append(admitted(name)) for name in names))

    envelopes = await recorded(connection, worker)
    assert requests(envelopes) == names
    assert [envelope.sequence for envelope in envelopes] == list(range(1, 65))
    assert positions == sorted(positions)
    assert len(set(positions)) == len(sizes) <= 4
    assert sum(sizes) == 64


async def test_a_message_holds_no_more_than_the_server_takes(connection: Client, worker: str) -> None:
    usage = b'"' + b"x" * 100_000 + b'"'
    async with request_log(connection, worker) as log:
        positions = await asyncio.gather(*(log.append(completed(f"r{index}", usage)) for index in range(30)))

    assert len(set(positions)) >= 4
    assert requests(await recorded(connection, worker)) == [f"r{index}" for index in range(30)]


async def test_an_event_that_cannot_be_recorded_harms_nobody_else(connection: Client, worker: str) -> None:
    too_large = completed("large", b'"' + b"x" * connection.max_payload + b'"')
    impossible = msgspec.structs.replace(completed("odd"), tokens=object())  # type: ignore[arg-type]
    async with request_log(connection, worker) as log:
        results = await asyncio.gather(
            *(log.append(event) for event in (admitted("a"), too_large, impossible, admitted("b"))),
            return_exceptions=True,
        )

    assert [type(result) for result in results] == [int, ValueError, TypeError, int]
    envelopes = await recorded(connection, worker)
    assert requests(envelopes) == ["a", "b"]
    assert [envelope.sequence for envelope in envelopes] == [1, 2]


async def test_an_admission_cancelled_while_it_waits_is_not_recorded(connection: Client, worker: str) -> None:
    async with request_log(connection, worker) as log:
        first = asyncio.create_task(log.append(admitted("first")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gone = asyncio.create_task(log.append(admitted("gone")))
        ended = asyncio.create_task(log.append(completed("ended")))
        await asyncio.sleep(0)
        gone.cancel()
        ended.cancel()
        await first
        await until(lambda: log.waiting == 0)

    assert requests(await recorded(connection, worker)) == ["first", "ended"]


async def test_closing_writes_what_waits_and_then_refuses(connection: Client, worker: str) -> None:
    log = GroupCommitRequestLog(connection, worker)
    with pytest.raises(Unavailable):
        await log.append(completed("too early"))
    await log.open()
    appends = [asyncio.create_task(log.append(admitted(f"r{index}"))) for index in range(2_000)]
    await asyncio.sleep(0)

    assert await log.close() == 0

    assert len({await append for append in appends}) >= 4
    assert len(await recorded(connection, worker)) == 2_000
    for event in (admitted("late"), completed("late")):
        with pytest.raises(Unavailable):
            await log.append(event)


class TestOverANetworkThatFails:
    @pytest.fixture
    async def proxy(self, nats_url: str) -> AsyncIterator[TcpProxy]:
        async with tcp_proxy(nats_url) as proxy:
            yield proxy

    @pytest.fixture
    async def proxied(self, proxy: TcpProxy) -> AsyncIterator[Client]:
        client = await connect_nats(proxy.url, "behind the proxy")
        yield client
        await client.close()

    async def test_a_lost_acknowledgement_is_followed_by_the_same_ids(
        self, connection: Client, proxied: Client, proxy: TcpProxy, worker: str
    ) -> None:
        async with request_log(proxied, worker, attempt_s=0.2) as log:
            await log.append(admitted("before"))
            proxy.deaf = True
            lost = [asyncio.create_task(log.append(admitted(f"r{index}"))) for index in range(5)]
            await eventually(lambda: _count(connection, worker, 6))
            proxy.deaf = False
            positions = await asyncio.gather(*lost)

        assert len(set(positions)) == 1
        stored = [message async for message in read_stream(connection, "REQ", start=positions[0])]
        assert [message.sequence for message in stored] == [positions[0]]

    async def test_a_caller_learns_in_time_what_is_known(
        self, connection: Client, proxied: Client, proxy: TcpProxy, worker: str
    ) -> None:
        async with request_log(proxied, worker, attempt_s=0.2, timeout_s=0.4, max_waiting=3) as log:
            proxy.freeze()
            sent = asyncio.create_task(log.append(admitted("sent")))
            await until(lambda: log.waiting == 1)
            await asyncio.sleep(0.05)
            waits = asyncio.create_task(log.append(admitted("waits")))
            end = asyncio.create_task(log.append(completed("end")))
            others = [asyncio.create_task(log.append(admitted(name))) for name in ("x", "y")]
            results = await asyncio.gather(sent, waits, end, *others, return_exceptions=True)
            assert [type(result) for result in results] == [
                OutcomeUnknown,
                Unavailable,
                OutcomeUnknown,
                Unavailable,
                Busy,
            ]
            proxy.thaw()
            await until(lambda: log.waiting == 0)

        envelopes = await recorded(connection, worker)
        assert requests(envelopes) == ["sent", "end"]
        assert [envelope.sequence for envelope in envelopes] == [1, 2]

    async def test_a_full_queue_turns_work_away_and_takes_every_end(
        self, connection: Client, proxied: Client, proxy: TcpProxy, worker: str
    ) -> None:
        async with request_log(proxied, worker, max_waiting=10) as log:
            proxy.freeze()
            work = [asyncio.create_task(log.append(admitted(f"w{index}"))) for index in range(100)]
            ends = [asyncio.create_task(log.append(completed(f"e{index}"))) for index in range(100)]
            await until(lambda: any(task.done() for task in work))
            assert all(isinstance(task.exception(), Busy) for task in work if task.done())
            proxy.thaw()
            await asyncio.gather(*ends)
            turned_away = sum(
                isinstance(result, Busy) for result in await asyncio.gather(*work, return_exceptions=True)
            )

        names = requests(await recorded(connection, worker))
        assert turned_away >= 80
        assert len(names) == 200 - turned_away
        assert {f"e{index}" for index in range(100)} <= set(names)

    async def test_closing_without_a_connection_ends_and_tells_how_much_is_lost(
        self, proxied: Client, proxy: TcpProxy, worker: str
    ) -> None:
        log = GroupCommitRequestLog(proxied, worker)
        await log.open()
        proxy.freeze()
        appends = [asyncio.create_task(log.append(completed(f"r{index}"))) for index in range(3)]
        await asyncio.sleep(0.05)

        assert await log.close(deadline_s=0.2) == 3

        results = await asyncio.gather(*appends, return_exceptions=True)
        assert [type(result) for result in results] == [OutcomeUnknown] * 3

    async def test_a_server_that_stays_silent_is_left_for_another(
        self, connection: Client, nats_url: str, proxy: TcpProxy, worker: str
    ) -> None:
        async with tcp_proxy(nats_url) as other:
            client = await connect_nats(f"{proxy.url},{other.url}", "two ways")
            async with request_log(client, worker, attempt_s=0.1) as log:
                await log.append(admitted("before"))
                mine = next(each for each in (proxy, other) if str(each.port) in str(client.connected_url))
                _keep_little_unsent(client)
                mine.freeze()
                usage = b'"' + b"x" * 800_000 + b'"'
                await asyncio.gather(*(log.append(completed(f"r{index}", usage)) for index in range(5)))
            await client.close()
        assert requests(await recorded(connection, worker)) == ["before", *(f"r{index}" for index in range(5))]


def _keep_little_unsent(client: Client) -> None:
    """So that most of a large message waits in our process, as it does on a slow network."""
    transport: Any = client._transport
    transport._io_writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)


async def _count(connection: Client, worker: str, wanted: int) -> bool:
    return len(await recorded(connection, worker)) == wanted


class TestKilledServers:
    """Servers of their own: they are killed in the middle of the work."""

    async def test_one_server_killed_and_started_again_loses_nothing(self, tmp_path: Path, worker: str) -> None:
        with single_node(tmp_path) as node:
            await _work_through_kills(node.url, [node], worker, replicas=1)

    async def test_a_cluster_of_which_one_server_dies_loses_nothing(self, tmp_path: Path, worker: str) -> None:
        with three_nodes(tmp_path) as nodes:
            await _work_through_kills(",".join(node.url for node in nodes), nodes[:2], worker, replicas=3)


async def _work_through_kills(url: str, victims: Sequence[NatsNode], worker: str, replicas: int) -> None:
    client = await connect_nats(url, "test")
    await apply_streams(client, replicas=replicas)
    acknowledged: list[str] = []
    unconfirmed: list[str] = []
    numbers = itertools.count()
    stop = asyncio.Event()

    async def requests_in_turn(log: RequestLog) -> None:
        while not stop.is_set():
            name = f"r{next(numbers)}"
            try:
                await log.append(completed(name))
                acknowledged.append(name)
            except OutcomeUnknown:
                unconfirmed.append(name)

    async with request_log(client, worker, timeout_s=0.3, attempt_s=0.5) as log:
        workers = [asyncio.create_task(requests_in_turn(log)) for _ in range(16)]
        for victim in victims:
            await asyncio.sleep(0.3)
            victim.send_signal(signal.SIGKILL)
            victim.kill()
            await asyncio.sleep(0.7)
            victim.start()
            await asyncio.to_thread(victim.await_ready)
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*workers)
        await until(lambda: log.waiting == 0)

    envelopes = await recorded(client, worker)
    assert [envelope.sequence for envelope in envelopes] == list(range(1, len(envelopes) + 1))
    assert sorted(requests(envelopes)) == sorted([*acknowledged, *unconfirmed])
    assert len(acknowledged) > 100
    await client.close()


async def test_failed_requests_are_ends_too(connection: Client, worker: str) -> None:
    event = RequestFailed(
        **_common("r"), cost_nanos=0, evidence="none", error_kind="timeout", message="no answer", upstream_status=504
    )
    async with request_log(connection, worker, max_waiting=0) as log:
        with pytest.raises(Busy):
            await log.append(admitted("r"))
        await log.append(event)

    assert [decode_fact(envelope) for envelope in await recorded(connection, worker)] == [event]
