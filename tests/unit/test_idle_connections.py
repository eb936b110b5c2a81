"""A connection is closed when nobody has asked for long enough, counted from its last answer."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from api.edge_protocol import EdgeProtocol
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
