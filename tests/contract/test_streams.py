"""The declared streams, on one server and on a cluster of their own: what they allow and what they refuse."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig
from nats.js.errors import APIError

from adapters.jetstream_reads import last_of_subject
from adapters.nats_connection import connect_nats
from migrations.streams import apply_streams
from tests.contract.conftest import eventually
from tests.nats_cluster import single_node, three_nodes

ALL = ["EVT", "REQ", "TMR", "KEYS", "IDEM"]


@pytest.fixture
def empty_url(deployment: str, tmp_path: Path) -> Iterator[str]:
    if deployment == "R3":
        with three_nodes(tmp_path) as nodes:
            yield nodes[0].url
    else:
        with single_node(tmp_path) as node:
            yield node.url


@pytest.fixture
def replicas(deployment: str) -> int:
    return 3 if deployment == "R3" else 1


@pytest.fixture
async def client(empty_url: str) -> AsyncIterator[Client]:
    client = await connect_nats(empty_url, "test")
    yield client
    await client.close()


async def test_streams_are_made_once_and_then_left_alone(client: Client, replicas: int) -> None:
    assert await apply_streams(client, replicas=replicas) == ALL
    assert await apply_streams(client, replicas=replicas) == []

    jetstream = client.jetstream()
    for name in ALL:
        config = (await jetstream.stream_info(name)).config
        assert (config.num_replicas, config.storage) == (replicas, "file")
        if name != "IDEM":
            assert (config.max_age, config.max_msgs) == (0, -1)
        if name in ("EVT", "REQ"):
            with pytest.raises(APIError):
                await jetstream.purge_stream(name)
            with pytest.raises(APIError):
                await jetstream.delete_msg(name, 1)


async def test_a_stream_made_with_other_settings_is_brought_up_to_date(client: Client, replicas: int) -> None:
    jetstream = client.jetstream()
    await jetstream.add_stream(StreamConfig(name="EVT", subjects=["evt.old.>"], num_replicas=replicas))
    await jetstream.publish("evt.old.x", b"kept")

    assert "EVT" in await apply_streams(client)

    info = await jetstream.stream_info("EVT")
    assert (info.config.subjects, info.config.deny_purge, info.config.allow_atomic) == (["evt.>"], True, True)
    assert (info.state.messages, info.config.num_replicas) == (1, replicas)


async def test_a_data_key_can_be_erased(client: Client, replicas: int) -> None:
    await apply_streams(client, replicas=replicas)
    jetstream = client.jetstream()
    first = (await jetstream.publish("keys.somebody", b"first")).seq
    second = (await jetstream.publish("keys.somebody", b"second")).seq
    await jetstream.delete_msg("KEYS", second)

    state = (await jetstream.stream_info("KEYS")).state
    assert (first, second, state.messages) == (1, 2, 0)


async def test_a_schedule_comes_due(client: Client, replicas: int) -> None:
    await apply_streams(client, replicas=replicas)
    at = datetime.now(UTC) + timedelta(seconds=1)
    headers = {
        "Nats-Schedule": f"@at {at.isoformat(timespec='seconds').replace('+00:00', 'Z')}",
        "Nats-Schedule-Target": "tmr.due.lease",
    }
    await client.jetstream().publish("tmr.set.lease.1", b"expire", headers=headers)

    due = await eventually(lambda: last_of_subject(client, "TMR", "tmr.due.lease"))
    assert due.raw == b"expire"
