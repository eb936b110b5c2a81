"""The declared catalogue on the real log: applied by the command line, live on every worker, joined in Postgres."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.endpoints import ServiceEndpoints
from adapters.jetstream_event_log import JetStreamEventLog
from adapters.live_directory import FILTERS, LiveDirectory
from adapters.log_reader import tail_latest
from adapters.nats_connection import connect_nats
from commands.apply_catalog import ADMIN
from migrations.streams import apply_streams
from projections.catalogue import CATALOGUE
from tests.declaring import Operator, declared_story, deployment, limits, names_in, route
from tests.histories import ListedLog
from tests.integration.test_folding import build
from tests.read_models import dump, read_models

LIVE_WITHIN_S = 5.0
CANCELLED_WITHIN_S = 5.0
FILE = """
[[providers]]
name = "groq"
base_url = "https://api.groq.com/openai/v1"

[[deployments]]
name = "eu"
model = "gpt-4o"
provider = "groq"
upstream_model = "gpt-4o"

[[routes]]
name = "fast"
deployments = ["eu"]

[[limits]]
scope = "model"
subject = "fast"
concurrent = 8
"""


@asynccontextmanager
async def worker(nats_url: str) -> AsyncGenerator[tuple[Operator, LiveDirectory]]:
    """Somebody who declares, and what this process knows."""
    connection = await connect_nats(nats_url, "test")
    await apply_streams(connection)
    directory = LiveDirectory()
    following = asyncio.create_task(directory.follow(tail_latest(connection, "EVT", FILTERS)))
    try:
        assert await directory.until(lambda: directory.caught_up, 10)
        yield Operator(JetStreamEventLog(connection), f"op-{id(directory)}"), directory
    finally:
        following.cancel()
        await asyncio.wait([following], timeout=CANCELLED_WITHIN_S)
        await connection.close()


async def agg(servers: ServiceEndpoints, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AGG_")}
    environ = {**clean, "AGG_NATS_URL": servers.nats_url, "AGG_DATA_DIR": str(directory)}
    command = [sys.executable, "-m", "api.cli", "catalog", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


async def test_what_one_worker_declares_is_live_on_the_other_and_gone_when_it_is_taken_out(
    servers: ServiceEndpoints,
) -> None:
    async with worker(servers.nats_url) as (operator, _), worker(servers.nats_url) as (_, other):
        done = await operator.apply(deployment("eu"), route("fast", "eu"), limits(), source=ADMIN, whole=True)
        expected = {"deployments": {"eu"}, "routes": {"fast"}, "limits": {"key:*"}}

        assert await other.until(lambda: names_in(other) == expected, LIVE_WITHIN_S)
        async with worker(servers.nats_url) as (_, late):
            assert names_in(late) == expected

        after = await operator.apply(source=ADMIN, whole=True)
        assert after.position == done.position + 4
        assert await other.until(lambda: not any(names_in(other).values()), LIVE_WITHIN_S)


async def test_the_command_line_shows_what_a_file_changes_applies_it_and_refuses_it_whole(
    servers: ServiceEndpoints, tmp_path: Path
) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(FILE)
    async with worker(servers.nats_url) as (operator, directory):
        await operator.apply(source=ADMIN, whole=True)

        differs = await agg(servers, tmp_path, "diff", str(path))
        applied = await agg(servers, tmp_path, "apply", str(path), "--json")
        same = await agg(servers, tmp_path, "diff", str(path))
        shown = await agg(servers, tmp_path, "show", "--json")
        path.write_text(FILE.replace('["eu"]', '["asia"]'))
        refused = await agg(servers, tmp_path, "apply", str(path))

        assert (differs.returncode, "+ route       fast\n" in differs.stdout) == (1, True), differs.stderr
        assert {"kind": "deployment", "name": "eu", "action": "added"} in json.loads(applied.stdout)
        assert (same.returncode, same.stdout) == (0, "There is no difference.\n")
        assert json.loads(shown.stdout)["limits"] == [{"scope": "model", "subject": "fast", "concurrent": 8}]
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "routes[0] (fast).deployments[0]: there is no deployment 'asia'" in refused.stderr
        assert await directory.until(lambda: set(directory.routes()) == {"fast"}, LIVE_WITHIN_S)
        await operator.apply()


async def test_requests_of_deployments_that_are_gone_can_still_be_joined(servers: ServiceEndpoints) -> None:
    story = await declared_story()
    async with read_models(servers.database) as database, read_models(servers.database) as again:
        await build(database, ListedLog(story), [CATALOGUE])
        await build(again, ListedLog(story, chunk=1), [CATALOGUE])

        deployments = await database.fetch(
            "SELECT name, weight, removed_at IS NULL AS is_there FROM deployments ORDER BY name"
        )
        routes = await database.fetch(
            "SELECT name, deployments, fallbacks, removed_at IS NULL AS is_there FROM routes ORDER BY name"
        )
        assert [tuple(row.values()) for row in deployments] == [("eu", 2, True), ("us", 1, False)]
        assert [tuple(row.values()) for row in routes] == [
            ("fast", ["eu"], ["o3"], True),
            ("slow", ["us"], [], False),
        ]
        assert await dump(database, [CATALOGUE]) == await dump(again, [CATALOGUE])
