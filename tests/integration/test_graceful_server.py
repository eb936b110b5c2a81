"""The server by itself, around an application of a few lines: how many connections it has, and how it stops."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import pytest
import uvicorn

from api.drain import Drain
from api.edge_protocol import EdgeProtocol
from api.graceful_server import GracefulServer
from api.send import send_whole

PATIENCE_S = 30.0
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class App:
    """Answers at once, but what is asked for at `/wait` when it may, or when it is cancelled."""

    def __init__(self) -> None:
        self.opened, self.closed = threading.Event(), threading.Event()
        self.waits, self.was_cancelled = threading.Event(), threading.Event()
        self.open_at_the_end = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["path"] == "/wait":
            self.waits.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.open_at_the_end = not self.closed.is_set()
                self.was_cancelled.set()
        await send_whole(send, 200, [], b"ok")

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        self.opened.set()
        await receive()
        self.closed.set()
        await send({"type": "lifespan.shutdown.complete"})


class Running:
    def __init__(self, server: GracefulServer, drain: Drain, app: App, port: int) -> None:
        self._server, self._drain, self.app, self._port = server, drain, app, port

    def connect(self, said: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
        connection.sendall(said)
        return connection

    def ask_to_stop(self) -> None:
        self._server.should_exit = True

    def until_draining(self) -> None:
        while not self._drain.is_on:
            time.sleep(0.005)


@contextmanager
def running(*, most_connections: int = 100, grace_s: float = PATIENCE_S) -> Generator[Running]:
    """In a thread of its own, where it takes no signals."""
    app, bound = App(), socket.create_server(("127.0.0.1", 0))
    protocol = cast(Any, partial(EdgeProtocol, most_connections=most_connections))
    config = uvicorn.Config(app, http=protocol, ws="none", lifespan="on", log_config=None, access_log=False)
    drain = Drain()
    server = GracefulServer(config, drain, grace_s)
    thread = threading.Thread(target=cast(Callable[..., None], server.run), args=([bound],))
    thread.start()
    try:
        assert app.opened.wait(PATIENCE_S)
        yield Running(server, drain, app, bound.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert app.closed.is_set()


def answer(connection: socket.socket) -> bytes:
    return connection.recv(65_536)


def test_a_connection_too_many_is_told_so_and_one_that_ends_makes_room() -> None:
    with running(most_connections=2) as server:
        first, second = server.connect(), server.connect(GET)
        assert answer(second).startswith(b"HTTP/1.1 200")
        with server.connect() as refused:
            said = answer(refused)
            assert said.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1" in said
            assert answer(refused) == b""
        first.sendall(GET)
        assert answer(first).startswith(b"HTTP/1.1 200")
        first.close()
        while not _asked_anew(server).startswith(b"HTTP/1.1 200"):
            pass
        second.close()


def _asked_anew(server: Running) -> bytes:
    """A refusal may be lost to what was sent meanwhile."""
    try:
        with server.connect(GET) as connection:
            return answer(connection)
    except ConnectionError:
        return b""


def test_an_idle_connection_is_closed_and_holds_nothing_up() -> None:
    with running() as server, server.connect(GET) as connection:
        assert answer(connection).startswith(b"HTTP/1.1 200")

        server.ask_to_stop()

        assert answer(connection) == b""


@pytest.mark.parametrize("path", [b"/wait", b"/"])
def test_a_request_whose_headers_are_on_their_way_is_answered(path: bytes) -> None:
    with running(grace_s=1) as server, server.connect(b"GET " + path) as connection:
        server.ask_to_stop()
        server.until_draining()
        connection.sendall(b" HTTP/1.1\r\nhost: x\r\n\r\n")

        assert answer(connection).startswith(b"HTTP/1.1 200")
        assert answer(connection) == b""


def test_what_runs_beyond_the_grace_is_cancelled_while_all_that_it_needs_is_there() -> None:
    with running(grace_s=0) as server, server.connect(GET.replace(b"/ ", b"/wait ")) as connection:
        assert server.app.waits.wait(PATIENCE_S)

        server.ask_to_stop()

        said = answer(connection)
        assert said.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in said
        assert server.app.was_cancelled.is_set()
        assert server.app.open_at_the_end
