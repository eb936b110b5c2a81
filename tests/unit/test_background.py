"""Tasks that live as long as the process end with it, whatever they are doing."""

import asyncio

from api.background import every, run_for_ever, running


async def test_a_task_that_swallows_a_cancellation_ends_all_the_same() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    async with running(stubborn()):
        await started.wait()

    assert ended.is_set()


async def test_work_that_fails_is_done_again() -> None:
    calls: list[int] = []
    thrice = asyncio.Event()

    async def work() -> None:
        calls.append(1)
        if len(calls) == 3:
            thrice.set()
        raise RuntimeError("not yet")

    async with running(every(0, work)):
        await thrice.wait()


async def test_work_that_ends_starts_anew() -> None:
    runs: asyncio.Queue[None] = asyncio.Queue()

    async def work() -> None:
        runs.put_nowait(None)

    async with running(run_for_ever("test", work, retry_s=0)):
        await runs.get()
        await runs.get()
