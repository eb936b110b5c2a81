"""Each server out of its wheel: starts, serves, keeps what it promised to keep, ends."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest
from redis.asyncio import Redis

from adapters.embedded.account import CAP_DAC_READ_SEARCH, Account, closed_directory
from adapters.embedded.home import PORTS, free_port
from adapters.embedded.nats import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.embedded.server import Server, ServerFailed
from adapters.embedded.valkey import ValkeyServer
from adapters.endpoints import DatabaseEndpoint, RedisEndpoint, ServiceEndpoints
from tests.support import open_directory

SERVERS: list[type[Server]] = [NatsServer, PostgresServer, ValkeyServer]


@pytest.fixture
def directory() -> Generator[Path, None, None]:
    with open_directory() as path:
        yield path


async def connected(where: DatabaseEndpoint) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=where.host, port=where.port, user=where.user, password=where.password, database=where.dbname, ssl=False
    )


def client_of(where: RedisEndpoint) -> Redis:
    return Redis(host=where.host, port=where.port, password=where.password)


def effective_capabilities(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_server_starts_stops_and_starts_again_where_it_was(kind: type[Server], directory: Path) -> None:
    server = kind(directory / "home")
    ports: set[int | None] = set()
    for _ in range(2):
        await server.start()
        pid = server.pid
        ports.add(server.port)
        assert pid is not None
        await server.stop()
        assert server.pid is None
        assert not psutil.pid_exists(pid)

    again = kind(directory / "home", port=server.port)
    await again.start()
    await again.stop()
    assert ports == {again.port}
    assert again.port in PORTS


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_server_moves_to_another_port_when_its_own_is_taken(kind: type[Server], directory: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", free_port()))) as squatter:
        taken = squatter.getsockname()[1]
        server = kind(directory / "home", port=taken)
        await server.start()
        await server.stop()

    assert server.port != taken


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_killed_server_is_noticed_and_starts_again(kind: type[Server], directory: Path) -> None:
    server = kind(directory / "home")
    await server.start()
    assert server.pid is not None
    os.kill(server.pid, 9)

    assert await server.wait() == -9
    await server.start()
    await server.stop()


@pytest.mark.parametrize("kind", SERVERS)
async def test_its_secrets_are_readable_by_its_owner_alone_and_no_argument(kind: type[Server], directory: Path) -> None:
    server = kind(directory / "home")
    await server.start()
    password = (server.home / "password").read_text()
    arguments = psutil.Process(server.pid).cmdline()
    await server.stop()

    assert not [word for word in arguments if password in word]
    for file in server.home.iterdir():
        if file.is_file() and password in file.read_text():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.home.stat().st_mode) == 0o700


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.06, 0.2])
@pytest.mark.parametrize("kind", SERVERS)
async def test_a_start_that_is_called_off_leaves_no_process(
    kind: type[Server], directory: Path, after_s: float
) -> None:
    server = kind(directory / "home")
    starting = asyncio.create_task(server.start())
    await asyncio.wait({starting}, timeout=after_s)
    if starting.cancel():
        with pytest.raises(asyncio.CancelledError):
            await starting
    else:
        await server.stop()

    assert server.pid is None
    assert not [child for child in psutil.Process().children(True) if str(directory) in " ".join(child.cmdline())]


async def test_nats_keeps_its_streams(directory: Path) -> None:
    server = NatsServer(directory / "nats")
    await server.start()
    client = await nats.connect(server.endpoint)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await client.jetstream().publish("kept", b"fact")
    await client.close()
    await server.stop()

    await server.start()
    client = await nats.connect(server.endpoint)
    message = await client.jetstream().get_last_msg("KEPT", "kept")
    await client.close()
    await server.stop()

    assert message.data == b"fact"


async def test_postgres_keeps_its_rows(directory: Path) -> None:
    server = PostgresServer(directory / "postgres")
    await server.start()
    connection = await connected(server.endpoint)
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    await connection.close()
    await server.stop()

    await server.start()
    connection = await connected(server.endpoint)
    kept = await connection.fetchval("SELECT n FROM kept")
    await connection.close()
    await server.stop()

    assert kept == 7


async def test_postgres_begins_anew_when_its_first_start_was_cut_short(directory: Path) -> None:
    unfinished = directory / "postgres" / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "half").touch()

    server = PostgresServer(directory / "postgres")
    await server.start()
    await server.stop()

    assert not unfinished.exists()


async def test_postgres_is_set_up_as_the_read_models_expect(servers: ServiceEndpoints) -> None:
    connection = await connected(servers.database)
    try:
        for setting, value in {
            "server_encoding": "UTF8",
            "fsync": "on",
            "synchronous_commit": "on",
            "shared_buffers": "64MB",
            "data_checksums": "on",
            "password_encryption": "scram-sha-256",
        }.items():
            assert await connection.fetchval(f"SHOW {setting}") == value
        assert connection.get_server_version().major == 18
        ordered = await connection.fetch("SELECT w FROM unnest(ARRAY['b','a','B','é']) w ORDER BY w")
        assert [row["w"] for row in ordered] == ["B", "a", "b", "é"]
        assert await connection.fetchval("SELECT upper('é')") == "É"
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    finally:
        await connection.close()


async def test_postgres_refuses_a_wrong_password(servers: ServiceEndpoints) -> None:
    where = servers.database
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host=where.host, port=where.port, user=where.user, password="wrong", database=where.dbname, ssl=False
        )


async def test_valkey_forgets_nothing_by_itself_and_writes_nothing(servers: ServiceEndpoints) -> None:
    async with client_of(servers.redis) as client:
        policy = await client.config_get("maxmemory-policy", "save", "appendonly")

    assert policy == {"maxmemory-policy": "noeviction", "save": "", "appendonly": "no"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands PostgreSQL to another account")
async def test_postgres_under_root_is_unprivileged_and_passes_through_closed_directories(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = PostgresServer(closed / "postgres")
    await server.start()
    process = psutil.Process(server.pid)
    account, capabilities = process.username(), effective_capabilities(process.pid)
    await server.stop()

    assert account == "nobody"
    assert capabilities == 1 << CAP_DAC_READ_SEARCH


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands PostgreSQL to another account")
def test_a_directory_that_its_account_may_not_enter_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    start_without_capabilities = (
        "import asyncio, sys; from pathlib import Path; from adapters.embedded.postgres import PostgresServer;"
        "asyncio.run(PostgresServer(Path(sys.argv[1])).start())"
    )
    drop = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
    outcome = subprocess.run(
        [*drop, sys.executable, "-c", start_without_capabilities, closed / "postgres"], capture_output=True, text=True
    )

    assert f"'nobody', and that account may not enter {tmp_path.parents[1]}" in outcome.stderr


def test_the_outermost_closed_directory_is_found(tmp_path: Path) -> None:
    with open_directory() as entrance:
        inner = entrance / "a" / "b"
        inner.mkdir(parents=True)
        stranger = Account("stranger", 54321, 54321)
        assert closed_directory(inner, stranger) is None
        (entrance / "a").chmod(0o700)
        assert closed_directory(inner, stranger) == (entrance / "a").resolve()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (NatsServer, "address already in use"),
        (PostgresServer, "could not create any TCP/IP sockets"),
        (ValkeyServer, "Failed listening on port"),
    ],
)
async def test_a_server_that_cannot_start_says_why_in_one_line(
    kind: type[Server], reason: str, directory: Path
) -> None:
    with closing(socket.socket()) as squatter:  # it does not listen: nobody waits for its answer
        squatter.bind(("127.0.0.1", free_port()))
        server = kind(directory / "home", port=squatter.getsockname()[1])
        server._placed = True  # as if the port had been taken a moment after it was found free
        with pytest.raises(ServerFailed, match=rf"{server.name} did not start: .*{reason}.*\(log: ") as failure:
            await server.start()

    assert "\n" not in str(failure.value)
    assert server.pid is None
