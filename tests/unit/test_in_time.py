"""A bounded wait: nothing is paid for what is there, and what waits is the same as under `await`."""

import asyncio
import gc
import weakref

import pytest

from api.in_time import in_time

LONG_S = 60.0


async def for_ever() -> None:
    await asyncio.Event().wait()


def timers(loop: asyncio.AbstractEventLoop) -> list[object]:
    """Those that this test's loop has."""
    return list(getattr(loop, "_scheduled"))  # noqa: B009 - private to the loop of the standard library


async def test_what_is_there_at_once_needs_no_timer() -> None:
    loop = asyncio.get_running_loop()
    before = timers(loop)

    async def there() -> list[object]:
        return timers(loop)

    assert await in_time(there(), LONG_S) == before == timers(loop)


async def test_what_takes_a_while_is_waited_for() -> None:
    async def a_while() -> str:
        for _ in range(3):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return "here"

    assert await in_time(a_while(), LONG_S) == "here"


async def test_a_future_is_waited_for_as_well() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(future.set_result, 7)

    assert await in_time(future, LONG_S) == 7
    assert await in_time(future, LONG_S) == 7


async def test_what_takes_too_long_is_cancelled() -> None:
    was_cancelled = False

    async def too_long() -> None:
        nonlocal was_cancelled
        try:
            await for_ever()
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    with pytest.raises(TimeoutError):
        await in_time(too_long(), 0.001)

    task = asyncio.current_task()
    assert was_cancelled and task and not task.cancelling()


@pytest.mark.parametrize("waits", [False, True])
async def test_an_error_is_told_as_it_is(waits: bool) -> None:
    async def broken() -> None:
        if waits:
            await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_time(broken(), LONG_S)


async def test_what_is_awaited_may_end_well_although_it_is_cancelled() -> None:
    async def stubborn() -> str:
        try:
            await for_ever()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "done all the same"

    async def cancelled() -> str:
        task = asyncio.current_task()
        assert task
        asyncio.get_running_loop().call_soon(task.cancel)
        return await in_time(stubborn(), LONG_S)

    assert await asyncio.create_task(cancelled()) == "done all the same"


async def test_being_cancelled_from_outside_is_not_being_late() -> None:
    task = asyncio.create_task(in_time(for_ever(), LONG_S))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_closed_closes_what_it_waits_for() -> None:
    closed = False

    async def awaited() -> None:
        nonlocal closed
        try:
            await for_ever()
        finally:
            closed = True

    waiting = in_time(awaited(), LONG_S)
    waiting.send(None)
    waiting.close()

    assert closed


async def test_what_it_was_cancelled_by_is_not_left_to_the_garbage_collector() -> None:
    async def broken() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            raise ZeroDivisionError from None

    async def cancelled() -> "weakref.ref[BaseException]":
        task = asyncio.create_task(in_time(broken(), LONG_S))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        failure = task.exception()
        assert failure and failure.__context__
        return weakref.ref(failure.__context__)

    gc.disable()
    try:
        seen = await cancelled()
        await asyncio.sleep(0)
        assert seen() is None
    finally:
        gc.enable()
