"""A wait ends when its client hangs up, and only then."""

import asyncio
from typing import Any

import pytest

from api.body import ClientGone
from api.while_connected import WhileConnected


class Connection:
    def __init__(self) -> None:
        self.hung_up = asyncio.Event()
        self.asked = asyncio.Event()

    async def receive(self) -> Any:
        self.asked.set()
        await self.hung_up.wait()
        return {"type": "http.disconnect"}


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_client_that_hangs_up_ends_its_wait() -> None:
    connection = Connection()
    connection.hung_up.set()

    with pytest.raises(ClientGone):
        async with WhileConnected(connection.receive, 0):
            await for_ever()

    task = asyncio.current_task()
    assert task
    assert not task.cancelling()


async def test_what_a_hang_up_ends_is_unwound_before() -> None:
    connection, unwound = Connection(), False
    connection.hung_up.set()

    with pytest.raises(ClientGone):
        async with WhileConnected(connection.receive, 0):
            try:
                await for_ever()
            finally:
                await asyncio.sleep(0)
                unwound = True

    assert unwound


async def test_a_short_wait_asks_nobody() -> None:
    connection = Connection()

    async with WhileConnected(connection.receive, 60):
        await asyncio.sleep(0)

    assert not connection.asked.is_set()


async def test_whoever_waited_in_vain_leaves_no_task_and_hears_of_no_later_hang_up() -> None:
    connection, before = Connection(), asyncio.all_tasks()
    async with WhileConnected(connection.receive, 0):
        await connection.asked.wait()
    connection.hung_up.set()
    for _ in range(3):
        await asyncio.sleep(0)

    assert asyncio.all_tasks() == before


async def test_being_cancelled_from_outside_is_no_hang_up() -> None:
    async def wait() -> None:
        async with WhileConnected(Connection().receive, 0):
            await for_ever()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_wait_is_told_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with WhileConnected(Connection().receive, 0):
            raise ZeroDivisionError
