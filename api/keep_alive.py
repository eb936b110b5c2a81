"""A sign of life into a stream that has said nothing for a while, at the price of one timer per stream."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self


class KeepAlive:
    """Within it, `say` is called when nothing was `said` for between `every_s` and twice that."""

    def __init__(self, every_s: float, say: Callable[[], Awaitable[None]]) -> None:
        self._every_s = every_s
        self._say: Callable[[], Awaitable[None]] | None = say
        self._was_said = False
        self._timer: asyncio.TimerHandle | None = None
        self._saying: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._look_later()
        return self

    async def __aexit__(self, *_: object) -> None:
        """What it would say leads back to whoever has it, and would wait for the garbage collector."""
        if self._timer is not None:
            self._timer.cancel()
        if self._saying is not None and not self._saying.done():
            self._saying.cancel()
        self._timer = self._say = None

    def said(self) -> None:
        self._was_said = True

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._look)

    def _look(self) -> None:
        if self._say is not None and not self._was_said and (self._saying is None or self._saying.done()):
            self._saying = asyncio.ensure_future(self._say())
        self._was_said = False
        self._look_later()
