"""A limit on how long one send may wait for a client that does not read, at the price of one timer per stream."""

import asyncio
from collections.abc import Awaitable
from typing import Self

SLOW_CLIENT_S = 30.0
"""A client that takes nothing for so long is not served any further; its request is still accounted."""


class SlowClient:
    """Within it, a send that waits for between `limit_s` and twice that is given up."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waits = False
        self._was_waiting = False
        self._given_up = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        self._look_later()
        return self

    async def __aexit__(self, *_: object) -> None:
        """A timer that is kept leads back here, and would wait for the garbage collector."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._task = None

    async def bounded(self, send: Awaitable[None]) -> bool:
        """Whether the client took it, as far as can be known."""
        self._waits = True
        try:
            await send
        except asyncio.CancelledError:
            if not self._given_up or self._task is None:
                raise
            self._given_up = False
            self._task.uncancel()
            return False
        except OSError:
            return False
        finally:
            self._waits = self._was_waiting = False
        return True

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._limit_s, self._look)

    def _look(self) -> None:
        """A send that waits at two looks in a row has waited for at least the limit."""
        if self._waits and self._was_waiting and self._task is not None:
            self._given_up = True
            self._task.cancel()
        self._was_waiting = self._waits
        self._look_later()
