"""What the program does not start with, and what it does not let in. Neither leaves anything in the log."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from adapters.embedded.home import free_port
from adapters.embedded.nats import nats_binary
from adapters.jetstream_reads import last_sequence
from adapters.nats_connection import connect_nats
from api.body import MAX_BODY_BYTES
from api.edge_protocol import MAX_HEADER_BYTES
from tests.e2e.running import Program, clean_environment, until
from tests.e2e.wire import CHAT, Wire, code_in
from tests.support import open_directory

LONG_SECRET = "s" * 48
SLOW_BODY = b'{"model": "sim/echo", "messages": [{"role": "user", "content": "' + b"x" * 285

# Over HTTP, byte by byte.


class SlowOnes(NamedTuple):
    """The log before them, and what each is told in the end."""

    log: tuple[int, int]
    headers: Future[tuple[int, bytes]]
    nothing: Future[tuple[int, bytes]]
    question: Future[tuple[int, bytes]]
    login: Future[tuple[int, bytes]]


async def log_ends(program: Program) -> tuple[int, int]:
    """Of events and of requests."""
    connection = await connect_nats(program.services["nats_url"], "test")
    try:
        return await last_sequence(connection, "EVT"), await last_sequence(connection, "REQ")
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def slow_ones(program: Program) -> Generator[SlowOnes, None, None]:
    """Each takes until its deadline, so they wait while the other tests run."""
    with ThreadPoolExecutor(4) as threads, ExitStack() as wires:

        def begin(head: Callable[[Wire], object], tail: bytes) -> Future[tuple[int, bytes]]:
            wire = wires.enter_context(Wire(program.base_url, program.api_key))

            def dawdle() -> tuple[int, bytes]:
                head(wire)
                wire.drip(tail, 0.1)
                return wire.answer()

            return threads.submit(dawdle)

        def announce(path: str) -> Callable[[Wire], object]:
            return lambda wire: wire.head(len(SLOW_BODY) + 1, path, "Content-Type: application/json")

        yield SlowOnes(
            log=asyncio.run(log_ends(program)),
            headers=begin(lambda wire: wire.send(f"POST {CHAT} HTTP/1.1\r\nx-slow: ".encode()), b"y" * 1_000),
            nothing=begin(lambda _: None, b""),
            question=begin(announce(CHAT), SLOW_BODY),
            login=begin(announce("/api/v1/auth/login"), SLOW_BODY),
        )


@pytest.fixture
def unchanged_log(program: Program, slow_ones: SlowOnes) -> Generator[None, None, None]:
    """The test adds nothing to either stream."""
    before = asyncio.run(log_ends(program))
    yield
    assert asyncio.run(log_ends(program)) == before


leaves_no_trace = pytest.mark.usefixtures("unchanged_log")


@leaves_no_trace
@pytest.mark.parametrize("path", [CHAT, "/api/v1/auth/login"])
def test_a_body_announced_too_large_is_refused_unread(program: Program, path: str) -> None:
    with Wire(program.base_url, program.api_key) as wire:
        wire.head(MAX_BODY_BYTES + 1, path, "Content-Type: application/json")
        wire.send(b"{")
        status, body = wire.answer()

    assert (status, code_in(body)) == (413, "body_too_large")


@leaves_no_trace
def test_a_body_of_unannounced_size_is_refused_where_it_becomes_too_large(program: Program) -> None:
    chunk = b"%x\r\n%s\r\n" % (1 << 20, bytes(1 << 20))
    with Wire(program.base_url, program.api_key) as wire:
        wire.head(None)
        for _ in range(MAX_BODY_BYTES // (1 << 20) + 1):
            wire.send(chunk)
        status, body = wire.answer()

    assert (status, code_in(body)) == (413, "body_too_large")


@leaves_no_trace
@pytest.mark.parametrize("pieces", [1, 50])
def test_headers_that_are_too_large(program: Program, pieces: int) -> None:
    """In one piece or in many, with a body that would be good."""
    body = json.dumps({"model": "sim/echo", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    filler = "".join(f"x-{number}: {'y' * (MAX_HEADER_BYTES // pieces)}\r\n" for number in range(pieces))
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {program.api_key}\r\n{filler}"
    whole = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with Wire(program.base_url, program.api_key) as wire:
        size = -(-len(whole) // pieces)
        for start in range(0, len(whole), size):
            try:
                wire.send(whole[start : start + size])
            except OSError:
                break
            time.sleep(0.001)
        status, _ = wire.answer()

    assert status == 431


@leaves_no_trace
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"model": "sim/echo"}', "invalid_value"),
        (b'{"model": "sim/echo", "messages": [{"role": "user", "content": "\xff"}]}', "invalid_json"),
        (b'{"model": "sim/echo", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_value"),
        (b'{"model": "sim/echo", "messages": [{"role": "user", "content": "x"}], "n": 1e999}', "invalid_value"),
    ],
    ids=["nothing", "cut", "lacking", "not utf-8", "deep", "infinite"],
)
def test_what_is_no_request_is_a_400(program: Program, body: bytes, code: str) -> None:
    with Wire(program.base_url, program.api_key) as wire:
        wire.head(len(body))
        wire.send(body)
        status, answer = wire.answer()

    assert (status, code_in(answer)) == (400, code)


@leaves_no_trace
@pytest.mark.parametrize("path", ["/api/v1/auth/login", "/v1/messages", "/v1/messages/count_tokens", "/v1/responses"])
def test_what_is_nested_without_end_is_a_400_everywhere(program: Program, path: str) -> None:
    """Also where nobody looks."""
    body = b'{"x": ' + b'{"a":[' * 50_000 + b"]}" * 50_000 + b"}"
    with Wire(program.base_url, program.api_key) as wire:
        wire.head(len(body), path, "Content-Type: application/json")
        wire.send(body)
        status, answer = wire.answer()

    assert status == 400
    assert b"nested too deeply" in answer


@leaves_no_trace
@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_is_closed(program: Program, junk: bytes) -> None:
    with Wire(program.base_url, program.api_key) as wire:
        wire.send(junk)
        status, _ = wire.answer()

        assert status == 400
        assert wire.is_closed()


@leaves_no_trace
def test_a_client_that_hangs_up_within_its_body_is_forgotten(program: Program) -> None:
    with Wire(program.base_url, program.api_key) as wire:
        wire.head(1_000)
        wire.send(b'{"model": "sim/echo"')


# Start-up. One line that names the remedy, and exit code 2.


def refusal(*arguments: str, **environ: str) -> str:
    outcome = subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments],
        env=clean_environment(**environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert outcome.returncode == 2, outcome.stderr
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("agg: ")
    assert outcome.stderr.count("\n") == 1, outcome.stderr
    return outcome.stderr


def own_servers(directory: Path, nats_url: str) -> dict[str, str]:
    """A database and a cache that are never reached: NATS comes first."""
    return {
        "AGG_DATA_DIR": str(directory),
        "AGG_NATS_URL": nats_url,
        "AGG_DATABASE_HOST": "127.0.0.1",
        "AGG_DATABASE_PORT": str(free_port()),
        "AGG_REDIS_HOST": "127.0.0.1",
        "AGG_REDIS_PORT": str(free_port()),
        "AGG_SERVER_PORT": str(free_port()),
        "AGG_AUTH_JWT_SECRET": LONG_SECRET,
    }


@contextmanager
def nats_server(directory: Path, jetstream: str, account: str = "") -> Generator[str, None, None]:
    """A NATS of the user's."""
    port = free_port()
    config = directory / "nats.conf"
    config.write_text(f"""
        host: 127.0.0.1
        port: {port}
        server_name: yours
        jetstream {{ store_dir: "{directory}/data", {jetstream} }}
        system_account: SYS
        accounts {{
          SYS {{ exports: [{{ service: "$SYS.REQ.SERVER.PING.JSZ", response_type: stream, accounts: [AGG] }}] }}
          AGG {{ jetstream: enabled, users: [{{ user: agg, password: agg }}] {account} }}
        }}""")
    with (directory / "nats.log").open("wb") as log:
        process = subprocess.Popen([nats_binary(), "-c", config], stdout=log, stderr=log)
    try:
        until(lambda: is_listening(port))
        yield f"nats://agg:agg@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def is_listening(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("command", ["up", "serve", "work"])
def test_a_short_secret(command: str) -> None:
    said = refusal(command, AGG_AUTH_JWT_SECRET="x" * 31)

    assert "AGG_AUTH_JWT_SECRET is 31 bytes long and must be at least 32" in said
    assert "openssl rand" in said


@pytest.mark.parametrize("command", ["up", "serve", "work", "migrate", "seed"])
def test_a_data_directory_that_cannot_be(command: str, tmp_path: Path) -> None:
    """Root may write everywhere, but not below a file."""
    (tmp_path / "file").touch()

    said = refusal(command, AGG_DATA_DIR=str(tmp_path / "file" / "data"), AGG_SERVER_PORT=str(free_port()))

    assert "Not a directory" in said
    assert "set AGG_DATA_DIR" in said


def test_nats_that_does_not_answer(tmp_path: Path) -> None:
    """The same words from each command; all at once, for each waits a while."""
    nowhere = own_servers(tmp_path, f"nats://127.0.0.1:{free_port()}")
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "api.cli", command],
            env=clean_environment(**nowhere),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in ("serve", "work", "seed")
    ]
    said = [process.communicate(timeout=60)[1] for process in processes]

    assert [process.returncode for process in processes] == [2, 2, 2]
    for line in said:
        assert line.startswith("agg: NATS does not answer: start it, or correct AGG_NATS_URL (")
        assert "ConnectionRefusedError" in line
        assert line.count("\n") == 1


IMPORT = ', imports: [{ service: { account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ" } }]'


def test_nats_that_acknowledges_what_is_not_on_disk() -> None:
    with open_directory() as directory, nats_server(directory, "sync_interval: 2m", IMPORT) as url:
        for command in ("serve", "work"):
            said = refusal(command, **own_servers(directory, url))

            assert "NATS server yours acknowledges writes that are not on disk" in said
            assert "sync_interval: always" in said
            assert "AGG_DURABILITY=relaxed" in said


def test_nats_that_does_not_show_whether_it_syncs() -> None:
    with open_directory() as directory, nats_server(directory, "sync_interval: always") as url:
        said = refusal("serve", **own_servers(directory, url))

    assert "does not show whether it syncs every write" in said
    assert "AGG_DURABILITY=relaxed" in said


@pytest.mark.parametrize("command", ["up", "serve"])
def test_a_port_that_is_taken(command: str, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        environ = {**own_servers(tmp_path, "nats://127.0.0.1:4"), "AGG_SERVER_PORT": port}

        said = refusal(command, **environ)

    assert port in said
    assert "AGG_SERVER_PORT" in said
    assert "Address already in use" in said


# At last, those that dawdled since the first of these tests.


def test_slow_headers_and_slow_bodies_are_not_waited_for(program: Program, slow_ones: SlowOnes) -> None:
    assert slow_ones.headers.result() == slow_ones.nothing.result() == (0, b"")
    for answer in (slow_ones.question, slow_ones.login):
        status, body = answer.result()
        assert (status, code_in(body)) == (408, "body_too_slow")
    assert asyncio.run(log_ends(program)) == slow_ones.log


def test_good_requests_go_on(program: Program) -> None:
    """After all of that."""
    question = json.dumps({"model": "sim/echo", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    with Wire(program.base_url, program.api_key) as wire:
        for _ in range(3):
            wire.head(len(question))
            wire.send(question)
            assert wire.answer()[0] == 200
