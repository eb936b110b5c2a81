"""Tasks that live as long as the process: repeated, healed, and ended in order."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import structlog

RETRY_S = 1.0

logger = structlog.get_logger()


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Call it again and again; a failure is logged and does not end it."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:
            logger.exception("background_failed", work=getattr(work, "__qualname__", repr(work)))


async def run_for_ever(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Start it anew whenever it ends or fails."""
    while True:
        try:
            await work()
        except Exception as error:
            logger.warning("background_restarts", work=name, reason=str(error) or type(error).__name__)
        await asyncio.sleep(RETRY_S)


@asynccontextmanager
async def running(*works: Awaitable[object]) -> AsyncGenerator[None]:
    """The tasks run while the body does."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
