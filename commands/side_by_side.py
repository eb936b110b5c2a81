"""Two that run side by side for one answer."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")


async def first_answer(
    lead: Coroutine[Any, Any, Answer | None], company: Coroutine[Any, Any, Answer | None], goes_on: Callable[[], object]
) -> Answer | None:
    """Of the one that has something first, `lead` where both have; None when neither has, or one has not and it does
    not go on. What still runs then, or when nobody waits any more, is cancelled and not waited for."""
    both = (asyncio.create_task(lead), asyncio.create_task(company))
    running = set(both)
    try:
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in both:
                if task in done and (answer := task.result()) is not None:
                    return answer
            if not goes_on():
                break
        return None
    finally:
        for task in both:
            task.cancel()
