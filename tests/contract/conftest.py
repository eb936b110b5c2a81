"""The servers that contracts are held against: one alone and a cluster of three, started once a session."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

import pytest
from nats.aio.client import Client

from adapters.nats_connection import connect_nats
from migrations.streams import apply_streams
from tests.nats_cluster import NatsNode, single_node, three_nodes

DEPLOYMENTS = ["one server", "R3"]
EVENTUALLY_S = 20.0
Answer = TypeVar("Answer")


async def eventually(ask: Callable[[], Awaitable[Answer | None]]) -> Answer:
    """The first answer that is true; a failure when there is none for a long time."""
    async with asyncio.timeout(EVENTUALLY_S):
        while True:
            if answer := await ask():
                return answer
            await asyncio.sleep(0.01)


async def until(holds: Callable[[], bool]) -> None:
    async def ask() -> bool:
        return holds()

    await eventually(ask)


@pytest.fixture(scope="session")
def nats_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsNode]:
    with single_node(tmp_path_factory.mktemp("nats")) as node:
        yield node


@pytest.fixture(scope="session")
def nats_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[NatsNode]]:
    with three_nodes(tmp_path_factory.mktemp("nats-r3")) as nodes:
        yield nodes


@pytest.fixture(params=DEPLOYMENTS)
def deployment(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def nats_url(deployment: str, request: pytest.FixtureRequest) -> str:
    """The only server, or one of the cluster that need not lead any stream."""
    if deployment == "R3":
        return request.getfixturevalue("nats_cluster")[0].url
    return request.getfixturevalue("nats_node").url


@pytest.fixture
def declared_streams(deployment: str) -> Callable[[Client], Awaitable[object]]:
    async def declare(client: Client) -> object:
        return await apply_streams(client, replicas=3 if deployment == "R3" else 1)

    return declare


@pytest.fixture
async def connection(nats_url: str, declared_streams: Callable[[Client], Awaitable[object]]) -> AsyncIterator[Client]:
    client = await connect_nats(nats_url, "test")
    await declared_streams(client)
    yield client
    await client.close()


@pytest.fixture
def worker() -> str:
    return f"w-{uuid.uuid4().hex}"
