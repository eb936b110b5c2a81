"""A client that does not read is given up; one that reads is not."""

import asyncio

import pytest

from api.slow_client import SlowClient


async def read_never() -> None:
    await asyncio.Event().wait()


async def read_at_once() -> None:
    await asyncio.sleep(0)


async def test_a_send_that_nobody_takes_is_given_up_and_the_task_goes_on() -> None:
    async with SlowClient(0.01) as slow:
        assert not await slow.bounded(read_never())
        assert await slow.bounded(read_at_once())

    task = asyncio.current_task()
    assert task and not task.cancelling()


async def test_many_short_waits_are_not_one_long_wait() -> None:
    async with SlowClient(0.01) as slow:
        for _ in range(50):
            assert await slow.bounded(asyncio.sleep(0.001))


async def test_a_connection_that_is_gone_takes_nothing() -> None:
    async def broken() -> None:
        raise ConnectionResetError

    async with SlowClient(1) as slow:
        assert not await slow.bounded(broken())


async def test_being_cancelled_from_outside_is_not_a_slow_client() -> None:
    async def answer() -> None:
        async with SlowClient(10) as slow:
            await slow.bounded(read_never())

    task = asyncio.create_task(answer())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
