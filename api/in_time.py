"""A wait with an end, which costs next to nothing where there is nothing to wait for.

What is awaited is begun before anything else is done: mostly it is over by then, and only what really waits gets a
timer, which costs more than all the rest.
"""

import asyncio
import types
from collections.abc import Awaitable, Generator
from typing import Any, TypeVar

T = TypeVar("T")


async def in_time(awaitable: Awaitable[T], limit_s: float) -> T:
    """Raises TimeoutError when it takes longer than `limit_s` seconds; what it waits for is cancelled then."""
    steps = awaitable.__await__()
    try:
        waits_for = steps.send(None)
    except StopIteration as done:
        return done.value
    async with asyncio.timeout(limit_s):
        return await _rest(steps, waits_for)


@types.coroutine
def _rest(steps: Generator[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """What `yield from` does, from the second step on."""
    while True:
        try:
            try:
                yield waits_for
            except BaseException as thrown:
                waits_for = steps.throw(thrown)
            else:
                waits_for = steps.send(None)
        except StopIteration as done:
            return done.value
