"""A wait that is over when the client hangs up."""

import asyncio
from types import TracebackType
from typing import Self

from api.body import ClientGone, Receive

LOOK_AFTER_S = 0.05
"""Short waits cost a timer and no task."""


class WhileConnected:
    """Within it nobody else receives. When the client of a whole request hangs up, what it waits for is cancelled and
    ClientGone raised instead."""

    def __init__(self, receive: Receive, look_after_s: float = LOOK_AFTER_S) -> None:
        self._receive = receive
        self._look_after_s = look_after_s
        self._waiting: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._is_gone = False

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._waiting = asyncio.current_task(loop)
        self._timer = loop.call_later(self._look_after_s, self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Timer and task lead back here, and would wait for the garbage collector."""
        waiting, self._waiting = self._waiting, None
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        self._timer = self._watcher = None
        if self._is_gone and waiting is not None:
            waiting.uncancel()
            if kind is asyncio.CancelledError:
                raise ClientGone from None

    def _look(self) -> None:
        self._watcher = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._waiting is not None:
            self._is_gone = True
            self._waiting.cancel()
