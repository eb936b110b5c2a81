"""The server's connections, byte by byte: what an application is told, and when a connection ends."""

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import msgspec
import pytest
import uvicorn

from api.body import read_body
from api.edge_protocol import MAX_HEADER_BYTES, EdgeProtocol
from api.send import send_whole

PATIENCE_S = 30.0


class App:
    """Tells what it was asked; at `/break` it breaks after it began to answer."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.asked: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            self.opened.set()
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.asked.append(scope["path"])
        if scope["path"] == "/break":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            return
        asked = {name: scope[name] for name in ("method", "path", "raw_path", "query_string", "http_version")}
        asked["headers"] = len(scope["headers"])
        asked["body"] = (await read_body(receive, dict(scope["headers"]))).decode()
        texts = {name: each.decode() if isinstance(each, bytes) else each for name, each in asked.items()}
        await send_whole(send, 200, [], msgspec.json.encode(texts) + b"\n")


@contextmanager
def serving(app: App | None = None, keep_alive_s: float = PATIENCE_S) -> Generator[Callable[[bytes], socket.socket]]:
    """What connects and says something. In a thread of its own, where it takes no signals."""
    app, bound = app or App(), socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=cast(Any, partial(EdgeProtocol, most_connections=100)),
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=cast(int, keep_alive_s),
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()

    def connect(said: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", bound.getsockname()[1]), timeout=PATIENCE_S)
        connection.sendall(said)
        return connection

    try:
        assert app.opened.wait(PATIENCE_S)
        yield connect
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def answers(connection: socket.socket, count: int) -> list[dict[str, Any]]:
    """What the application was asked, as it tells it; each of its answers ends a line of its own."""
    said = b""
    while said.count(b"}\n") < count:
        piece = connection.recv(65_536)
        assert piece, said
        said += piece
    return [msgspec.json.decode(line) for line in said.split(b"\n") if line.startswith(b"{")]


def until_closed(connection: socket.socket) -> bytes:
    said = b""
    while piece := connection.recv(65_536):
        said += piece
    return said


def test_an_application_is_told_what_was_asked() -> None:
    asked = b"POST /a%20b/c?d=%20e HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"

    with serving() as connect, connect(asked) as connection:
        (told,) = answers(connection, 1)

    assert told == {
        "method": "POST",
        "path": "/a b/c",
        "raw_path": "/a%20b/c",
        "query_string": "d=%20e",
        "http_version": "1.1",
        "headers": 2,
        "body": "hi",
    }


def test_requests_that_come_at_once_are_answered_in_their_order() -> None:
    asked = b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % number for number in range(5))

    with serving() as connect, connect(asked) as connection:
        told = answers(connection, 5)

    assert [each["path"] for each in told] == ["/0", "/1", "/2", "/3", "/4"]


@pytest.mark.parametrize(
    "asked",
    [b"GET / HTTP/1.0\r\nhost: x\r\n\r\n", b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"],
)
def test_a_connection_that_is_not_to_be_kept_is_closed_after_its_answer(asked: bytes) -> None:
    with serving() as connect, connect(asked) as connection:
        said = until_closed(connection)

    assert b"connection: close\r\n" in said and said.endswith(b"}\n")


def test_a_connection_that_is_idle_for_too_long_is_closed() -> None:
    with serving(keep_alive_s=0.05) as connect, connect(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n") as connection:
        assert until_closed(connection).endswith(b"}\n")


@pytest.mark.parametrize("pieces", [1, 40])
@pytest.mark.parametrize("before", [0, 1])
def test_headers_too_large_are_refused_wherever_they_stand(pieces: int, before: int) -> None:
    """Also in one piece with a request before them."""
    line = b"x-filler: " + b"y" * (MAX_HEADER_BYTES // pieces) + b"\r\n"
    asked = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * before + b"GET / HTTP/1.1\r\nhost: x\r\n" + line * pieces + b"\r\n"

    with serving() as connect, connect(asked) as connection:
        said = until_closed(connection)

    assert said.count(b"HTTP/1.1 431 ") == 1


def test_what_comes_in_one_piece_with_headers_too_large_goes_nowhere() -> None:
    app, get = App(), b"GET /after HTTP/1.1\r\nhost: x\r\n"
    large = get + b"x-filler: " + b"y" * MAX_HEADER_BYTES + b"\r\n\r\n"

    with serving(app) as connect, connect(large + get + b"\r\n") as connection:
        assert until_closed(connection).startswith(b"HTTP/1.1 431 ")

    assert app.asked == []


def test_a_large_body_is_no_large_header() -> None:
    body = b"y" * MAX_HEADER_BYTES * 4
    asked = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    with serving() as connect, connect(asked) as connection:
        (told,) = answers(connection, 1)

    assert len(told["body"]) == len(body)


def test_an_answer_that_breaks_off_before_its_body_leaves_nothing_but_an_end() -> None:
    with serving() as connect, connect(b"GET /break HTTP/1.1\r\nhost: x\r\n\r\n") as connection:
        assert until_closed(connection) == b""
