"""A client that does not read is given up; one that reads is not."""

import asyncio

import pytest

from api.slow_client import is_taken


async def read_never() -> None:
    await asyncio.Event().wait()


async def read_at_once() -> None:
    await asyncio.sleep(0)


async def test_a_send_that_nobody_takes_is_given_up_and_the_task_goes_on() -> None:
    assert not await is_taken(read_never(), 0.01)
    assert await is_taken(read_at_once(), 0.01)

    task = asyncio.current_task()
    assert task and not task.cancelling()


async def test_many_short_waits_are_not_one_long_wait() -> None:
    for _ in range(50):
        assert await is_taken(asyncio.sleep(0.001), 0.01)


async def test_a_connection_that_is_gone_takes_nothing() -> None:
    async def broken() -> None:
        raise ConnectionResetError

    assert not await is_taken(broken(), 1)


async def test_being_cancelled_from_outside_is_not_a_slow_client() -> None:
    task = asyncio.create_task(is_taken(read_never(), 10))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
