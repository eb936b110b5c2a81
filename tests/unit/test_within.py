"""A wait with an end, which is told from being cancelled."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable

import pytest

from commands.within import within

FOREVER_S = 3_600.0


async def never() -> None:
    await asyncio.Event().wait()


async def bounded(seconds: float, wait: Callable[[], Awaitable[None]] = never) -> int:
    """How often the task is still asked to stop, when it was told that the time is over."""
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(TimeoutError), within(seconds):
        await wait()
    return task.cancelling()


async def test_what_takes_too_long_ends_in_a_timeout_and_the_task_goes_on() -> None:
    assert await bounded(0.0) == 0
    assert await bounded(-1.0) == 0


async def test_what_is_done_in_time_is_not_disturbed_then_or_later() -> None:
    with within(0.0):
        done = 1
    for _ in range(3):
        await asyncio.sleep(0)
    assert done == 1


async def test_an_error_in_time_is_told_as_it_is() -> None:
    with pytest.raises(KeyError), within(FOREVER_S):
        raise KeyError


async def test_a_task_that_is_cancelled_before_the_time_is_over_is_cancelled() -> None:
    task = asyncio.create_task(bounded(FOREVER_S))
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_task_that_is_cancelled_at_the_moment_when_the_time_is_over_is_cancelled(is_first: bool) -> None:
    """By whichever of two timers that are due in the same turn."""

    async def cancelled_meanwhile() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        if is_first:
            loop.call_later(0.0, task.cancel)
        with within(0.0):
            if not is_first:
                loop.call_later(0.0, task.cancel)
            await never()

    task = asyncio.create_task(cancelled_meanwhile())
    await asyncio.wait([task])

    assert task.cancelled()


async def test_a_task_that_was_asked_to_stop_before_and_goes_on_still_gets_its_timeouts() -> None:
    async def stubborn() -> int:
        try:
            await never()
        except asyncio.CancelledError:
            return await bounded(0.0)
        raise AssertionError

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    task.cancel()

    assert await task == 1


async def test_of_two_within_each_other_the_one_that_is_over_tells_it() -> None:
    with within(FOREVER_S):
        assert await bounded(0.0) == 0
    with pytest.raises(TimeoutError), within(0.0), within(FOREVER_S):
        await never()


async def test_who_says_something_else_when_the_time_is_over_is_heard_and_the_task_goes_on() -> None:
    async def speaks() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            raise ValueError from None

    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(ValueError), within(0.0):
        await speaks()
    assert task.cancelling() == 0


@pytest.mark.parametrize("seconds", [0.0, FOREVER_S])
async def test_nothing_is_left_to_the_garbage_collector(seconds: float) -> None:
    """But what a traceback holds, and that is let go."""

    class Seen(within):
        __slots__ = ("__weakref__",)

    async def once() -> "weakref.ref[Seen]":
        bound = Seen(seconds)
        try:
            with bound:
                await (never() if not seconds else asyncio.sleep(0))
        except TimeoutError as error:
            assert isinstance(error.__cause__, asyncio.CancelledError)
        return weakref.ref(bound)

    gc.disable()
    try:
        seen = await once()
        await asyncio.sleep(0)
        assert seen() is None
    finally:
        gc.enable()
