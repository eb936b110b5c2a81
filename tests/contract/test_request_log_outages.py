"""The request log while the network fails and servers are killed: what was taken is recorded, once for a reader."""

import asyncio
import itertools
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from adapters.jetstream_request_log import GroupCommitRequestLog
from adapters.log_reader import read_stream
from adapters.nats_connection import connect_nats
from domain.errors import Busy, OutcomeUnknown, Unavailable
from domain.ports import RequestLog
from migrations.streams import apply_streams
from tests.contract.conftest import eventually, until
from tests.contract.test_request_log import admitted, cached, completed, recorded, request_log, requests
from tests.nats_cluster import NatsNode, single_node, three_nodes
from tests.tcp_proxy import TcpProxy, tcp_proxy


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
        async with request_log(proxied, worker, attempt_s=0.2, timeout_s=0.4, max_waiting=4) as log:
            proxy.freeze()
            sent = asyncio.create_task(log.append(admitted("sent")))
            await until(lambda: log.waiting == 1)
            await asyncio.sleep(0.05)
            waits = asyncio.create_task(log.append(admitted("waits")))
            hit = asyncio.create_task(log.append(cached("hit")))
            end = asyncio.create_task(log.append(completed("end")))
            others = [asyncio.create_task(log.append(admitted(name))) for name in ("x", "y")]
            results = await asyncio.gather(sent, waits, hit, end, *others, return_exceptions=True)
            assert [type(result) for result in results] == [
                OutcomeUnknown,
                Unavailable,
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
