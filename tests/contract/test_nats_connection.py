"""The connection to NATS when there is nothing to connect to."""

import socket
import time

import pytest
from structlog.testing import capture_logs

from adapters.nats_connection import connect_nats, leave_server
from domain.errors import Unavailable
from tests.contract.conftest import until
from tests.nats_cluster import NatsNode
from tests.tcp_proxy import tcp_proxy


async def test_a_server_that_is_not_there_is_reported_in_time_and_without_its_password() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        started = time.monotonic()

        with capture_logs() as lines, pytest.raises(Unavailable) as refusal:
            await connect_nats(f"nats://agg:secret@127.0.0.1:{port}", "test", patience_s=0.7)

    assert time.monotonic() - started < 2
    assert "ConnectionRefusedError" in str(refusal.value)
    assert {line["log_level"] for line in lines} <= {"debug"}
    assert "secret" not in f"{refusal.value}{lines}"


async def test_it_comes_back_by_itself(nats_node: NatsNode) -> None:
    async with tcp_proxy(nats_node.url) as proxy:
        client = await connect_nats(proxy.url, "test")
        proxy.cut()
        await until(lambda: client.stats["reconnects"] == 1 and client.is_connected)
        await client.flush()
        await client.close()


async def test_with_one_server_there_is_none_to_leave_it_for(nats_node: NatsNode) -> None:
    client = await connect_nats(nats_node.url, "test")
    assert not await leave_server(client)
    assert client.is_connected
    await client.close()
