"""A wait with an end, for the one place that every call of a provider passes. It is `asyncio.timeout` for half its
price: no coroutine is made to enter or to leave it."""

import asyncio
from types import TracebackType


class within:  # noqa: N801  (reads as a word at its only place)
    """`with within(seconds):` raises TimeoutError once the time is over, by cancelling the task that waits inside. Who
    else cancels that task, be it at the same moment, is heard all the same. Used once, inside a task."""

    __slots__ = ("_asked_before", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "only a task can be cancelled"
        self._task = task
        self._asked_before = task.cancelling()
        self._timer = task.get_loop().call_later(self._seconds, self._over)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        elif self._task.uncancel() <= self._asked_before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _over(self) -> None:
        self._timer = None
        self._task.cancel()
