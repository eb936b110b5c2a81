"""A connection is closed when nobody has asked for long enough, counted from its last answer."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from api.edge_protocol import MAX_HEADER_BYTES, EdgeProtocol
from api.send import send_whole

KEEP_ALIVE_S = 75
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Timer:
    def __init__(self, due_s: float, callback: Callable[[], None]) -> None:
        self.due_s, self.callback = due_s, callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """Whose time passes when the test says so."""

    def __init__(self) -> None:
        self._now_s = 1000.0
        self._timers: list[Timer] = []
        self.create_task = asyncio.get_running_loop().create_task

    def time(self) -> float:
        return self._now_s

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        self._timers.append(Timer(self._now_s + seconds, callback))
        return self._timers[-1]

    @property
    def due(self) -> list[Timer]:
        return sorted((each for each in self._timers if not each.is_cancelled), key=lambda each: each.due_s)

    def pass_by(self, seconds: float) -> None:
        end_s = self._now_s + seconds
        while self.due and self.due[0].due_s <= end_s:
            timer = self.due[0]
            self._now_s = timer.due_s
            self._timers.remove(timer)
            timer.callback()
        self._now_s = end_s


class Transport:
    def __init__(self) -> None:
        self.said = b""
        self.is_closed = False

    def get_extra_info(self, _name: str) -> None:
        return None

    def write(self, data: bytes) -> None:
        self.said += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        return

    resume_reading = pause_reading


class Connection:
    def __init__(self) -> None:
        self.loop, self.transport = Loop(), Transport()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._asked = 0
        config = uvicorn.Config(
            self._app, interface="asgi3", timeout_keep_alive=KEEP_ALIVE_S, log_config=None, ws="none"
        )
        self.protocol = EdgeProtocol(config, ServerState(), {}, cast(Any, self.loop), most_connections=1)
        self.protocol.connection_made(self.transport)

    async def _app(self, _scope: Any, _receive: Any, send: Any) -> None:
        await self.may_answer.wait()
        await send_whole(send, 200, [], b"ok")

    async def ask(self) -> None:
        self._asked += 1
        self.protocol.data_received(GET)
        for _ in range(5):
            await asyncio.sleep(0)
        assert self.transport.said.count(b"HTTP/1.1 200") == self._asked, self.transport.said


@pytest.fixture
async def connection() -> Connection:
    return Connection()


async def test_an_idle_connection_is_closed_when_its_time_is_over_and_not_before(connection: Connection) -> None:
    for _ in range(3):
        await connection.ask()
        connection.loop.pass_by(KEEP_ALIVE_S - 1)
        assert not connection.transport.is_closed

    connection.loop.pass_by(1)

    assert connection.transport.is_closed


async def test_a_connection_whose_answer_is_under_way_stays(connection: Connection) -> None:
    await connection.ask()
    connection.may_answer.clear()
    connection.protocol.data_received(GET)

    connection.loop.pass_by(10 * KEEP_ALIVE_S)

    assert not connection.transport.is_closed


async def test_many_answers_need_one_timer_and_a_connection_that_is_gone_needs_none(connection: Connection) -> None:
    for _ in range(5):
        await connection.ask()
    assert len(connection.loop.due) == 1

    connection.protocol.connection_lost(OSError())

    assert not connection.loop.due


async def test_what_is_no_request_does_not_keep_a_connection_open(connection: Connection) -> None:
    await connection.ask()
    for _ in range(4):
        connection.loop.pass_by(KEEP_ALIVE_S / 4)
        if not connection.transport.is_closed:
            connection.protocol.data_received(b"\r\n")

    assert connection.transport.is_closed


async def test_a_body_that_comes_after_its_answer_does_not_keep_a_connection_open(connection: Connection) -> None:
    connection.protocol.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n")
    for _ in range(5):
        await asyncio.sleep(0)
    connection.protocol.data_received(b"12345")

    connection.loop.pass_by(KEEP_ALIVE_S)

    assert connection.transport.is_closed


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * MAX_HEADER_BYTES + b"\r\n\r\n", b"431"),
    ],
)
async def test_a_request_that_cannot_be_read_is_told_so_after_the_answer_before_it(
    connection: Connection, bad: bytes, status: bytes
) -> None:
    connection.may_answer.clear()
    connection.protocol.data_received(GET)
    connection.protocol.data_received(bad)
    assert (connection.transport.said, connection.transport.is_closed) == (b"", False)

    connection.may_answer.set()
    for _ in range(5):
        await asyncio.sleep(0)

    said = connection.transport.said
    assert said.index(b"HTTP/1.1 200") < said.index(b"ok") < said.index(b"HTTP/1.1 " + status)
    assert connection.transport.is_closed


async def test_all_who_ask_over_a_connection_hear_that_it_is_gone() -> None:
    ours = Connection()
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        heard.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})

    ours.protocol.app = app
    ours.protocol.data_received(GET.replace(b"/ ", b"/first ") + GET.replace(b"/ ", b"/second "))
    for _ in range(5):
        await asyncio.sleep(0)
    ours.transport.close()
    ours.protocol.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)

    assert (heard, ours.transport.said) == (["/first"], b"")
