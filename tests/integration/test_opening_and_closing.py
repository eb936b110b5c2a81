"""What the API serves from, put together over real servers: complete when it is there, and taken down in order."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from nats.aio.client import Client

from adapters.log_reader import read_stream
from adapters.nats_connection import connect_nats
from api.compose import Services, open_services
from api.seed import seed
from api.settings import Settings, load_settings
from commands.route_plan import RouteAsk
from domain.catalog import Model
from domain.events import decode_batch, decode_envelope
from migrations.apply import migrate
from migrations.streams import streams
from tests.support import open_directory, running_servers

CATALOGUE = """
[[deployments]]
name = "own"
model = "gpt-4o-mini"
provider = "openai"
upstream_model = "gpt-4o-mini"
base_url = "http://127.0.0.1:9/v1"

[[routes]]
name = "to-own"
deployments = ["own"]
"""
ENDLESS = {"chunks": 20, "chunk_ms": 600_000}
STANDS_STILL_S = 0.5
"""How long a close that does not wait gets to show it; one that waits is not hurried."""
RETURNED = "ledger.lease_returned.v1"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settings() -> AsyncGenerator[Settings]:
    """Of servers that hold a catalogue, and an account with credit and a key."""
    with open_directory() as directory:
        (directory / "catalogue.toml").write_text(CATALOGUE)
        async with running_servers(directory) as servers:
            environ = {
                "AGG_NATS_URL": servers.nats_url,
                "AGG_DATABASE_HOST": servers.database.host,
                "AGG_DATABASE_PORT": str(servers.database.port),
                "AGG_DATABASE_USER": servers.database.user,
                "AGG_DATABASE_PASSWORD": servers.database.password,
                "AGG_DATABASE_DBNAME": servers.database.dbname,
                "AGG_REDIS_HOST": servers.redis.host,
                "AGG_REDIS_PORT": str(servers.redis.port),
                "AGG_REDIS_PASSWORD": servers.redis.password or "",
                "AGG_AUTH_JWT_SECRET": "j" * 48,
                "AGG_MASTER_KEY": base64.b64encode(b"m" * 32).decode(),
                "AGG_DATA_DIR": str(directory / "data"),
                "AGG_CATALOG": str(directory / "catalogue.toml"),
                "OPENAI_API_KEY": "sk-of-nobody",
            }
            await migrate(servers)
            yield load_settings(environ)


class Sizes:
    def max_output_tokens(self, model: Model) -> int:
        return model.max_output_tokens

    def input_bound(self, model: Model) -> int:
        return model.context_length


async def test_a_deployment_with_an_address_of_its_own_is_reachable_and_looked_at_from_the_first_request_on(
    settings: Settings,
) -> None:
    await seed(settings)
    async with open_services(settings) as services:
        routing = services.routing
        now = datetime.now(UTC)
        resolved = routing.book.resolve("to-own", "chat.completions", now)
        plan = routing.book.plan(resolved, RouteAsk(endpoint="chat.completions", at=now, sizes=Sizes()))
        shown = [each["deployment"] for each in routing.shown()]
        routing.views.began("own")

        assert [candidate.connection for candidate in plan.candidates] == ["openai/own"]
        assert shown == ["own"]
        assert routing.views.in_flight("own") == 1


async def test_what_a_cancelled_request_cost_is_on_the_log_before_its_credit_is_given_back(settings: Settings) -> None:
    key, hung_up = (await seed(settings)).api_key, asyncio.Event()

    async def serve(log: Log) -> None:
        async with open_services(settings) as services:
            await ask_and_hang_up(services, key, log)
            hung_up.set()

    async with opened_log(settings) as log:
        serving = asyncio.create_task(serve(log))
        waiting = asyncio.create_task(hung_up.wait())
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await asyncio.wait([serving], timeout=STANDS_STILL_S)
        before = await log.types("EVT")
        await log.flow()
        await serving

        assert RETURNED not in before
        assert (await log.types("REQ"))[-1] == "request.failed.v1"
        assert (await log.types("EVT"))[-1] == RETURNED


class Log:
    """What it holds; and it may be told to take nothing about requests."""

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        (self._requests,) = [each for each in streams() if each.name == "REQ"]

    async def stall(self) -> None:
        await self._connection.jetstream().update_stream(self._requests.evolve(subjects=["elsewhere.>"]))

    async def flow(self) -> None:
        await self._connection.jetstream().update_stream(self._requests)

    async def types(self, stream: str) -> list[str]:
        raw = [message.raw async for message in read_stream(self._connection, stream)]
        if stream == "REQ":
            return [envelope.type for each in raw for envelope in decode_batch(each)]
        return [decode_envelope(each).type for each in raw]


@asynccontextmanager
async def opened_log(settings: Settings) -> AsyncGenerator[Log]:
    assert settings.nats_url is not None
    connection = await connect_nats(settings.nats_url.get_secret_value(), "test")
    try:
        yield Log(connection)
    finally:
        await connection.close()


async def ask_and_hang_up(services: Services, key: str, log: Log) -> None:
    """A stream that would never end; when it is cancelled, the log takes nothing about it."""
    begun = asyncio.Event()
    asked = {"model": "sim/echo", "messages": [{"role": "user", "content": "Hello"}], "stream": True, "sim": ENDLESS}
    bodies = [{"type": "http.request", "body": msgspec.json.encode(asked), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not bodies:
            await asyncio.Event().wait()
        return bodies.pop()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            begun.set()

    headers = [(b"authorization", f"Bearer {key}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
    request = asyncio.create_task(services.ai["/chat/completions"](scope, receive, send))
    await begun.wait()
    assert not request.done(), "it was refused"
    await log.stall()
    request.cancel()
    await asyncio.wait([request])
