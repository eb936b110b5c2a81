"""uvicorn, stopped without harm: nothing new is taken, what runs may finish, what does not is ended and accounted."""

import asyncio
import socket
from collections.abc import Callable
from types import FrameType

import structlog
import uvicorn

from api.drain import Drain
from api.edge_protocol import EdgeProtocol

NOTICE_S = 0.5
"""For so long a connection on which nobody asks stays open: a request that is on its way is told to go elsewhere."""
POLL_S = 0.05
CANCEL_S = 5.0
"""What a request that is ended may take to record its end, and to say so to its client."""
FLUSH_S = 2.0
"""What clients may take to read the end of what was said to them."""

logger = structlog.get_logger()


class GracefulServer(uvicorn.Server):
    """From SIGTERM or SIGINT on `drain` is on and nobody listens; what runs has `grace_s` seconds, and none of them
    after a second SIGINT. The application is shut down when no request is left."""

    def __init__(self, config: uvicorn.Config, drain: Drain, grace_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._grace_s = grace_s
        self._sockets: list[socket.socket] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._sockets = sockets or []
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.call_soon, self._begin)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for _ in range(2):
            await asyncio.sleep(0)
        self._begin()
        state, time = self.server_state, asyncio.get_running_loop().time
        give_up_s = time() + self._grace_s
        await asyncio.sleep(POLL_S)  # who was accepted just now is not among the connections yet
        await self._until(lambda: not state.connections, min(time() + NOTICE_S, give_up_s))
        for connection in self._connections():
            connection.close_unless_asked()
        await self._until(lambda: not state.tasks, give_up_s)
        await self._end_what_runs()
        for connection in self._connections():
            connection.transport.close()
        await self._until(lambda: not state.connections, time() + FLUSH_S)
        await self.lifespan.shutdown()

    def _begin(self) -> None:
        """The listening sockets first: on a port that several share, the others get what comes now. The loop has been
        around once more, so whoever was connected has been accepted: closing would reset them."""
        if self._drain.is_on:
            return
        for server in self.servers:
            server.close()
        for each in self._sockets:
            each.close()
        self._drain.begin()
        for connection in self._connections():
            connection.close_after_answer()

    async def _until(self, true: Callable[[], bool], deadline_s: float) -> None:
        time = asyncio.get_running_loop().time
        while not true() and time() < deadline_s and not self.force_exit:  # noqa: ASYNC110 - uvicorn's sets tell nobody
            await asyncio.sleep(POLL_S)

    async def _end_what_runs(self) -> None:
        running = set(self.server_state.tasks)
        if not running:
            return
        logger.warning("requests_ended_by_stop", count=len(running), grace_s=self._grace_s)
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=CANCEL_S)

    def _connections(self) -> list[EdgeProtocol]:
        return [each for each in self.server_state.connections if isinstance(each, EdgeProtocol)]
