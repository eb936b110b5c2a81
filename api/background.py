"""Tasks that live as long as the process: repeated, healed, and ended in order."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog

RETRY_S = 1.0
CANCELLATIONS = 5
CANCEL_S = 2.0

logger = structlog.get_logger()


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Call it again and again; a failure is logged and does not end it."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:
            logger.exception("background_failed", work=getattr(work, "__qualname__", repr(work)))


async def run_for_ever(name: str, work: Callable[[], Awaitable[None]], retry_s: float = RETRY_S) -> None:
    """Start it anew whenever it ends or fails."""
    while True:
        try:
            await work()
        except Exception as error:
            logger.warning("background_restarts", work=name, reason=str(error) or type(error).__name__)
        await asyncio.sleep(retry_s)


@asynccontextmanager
async def running(*works: Awaitable[object]) -> AsyncGenerator[None]:
    """The tasks run while the body does."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        await _end(tasks)


async def _end(tasks: Sequence[asyncio.Future[object]]) -> None:
    """Cancel until they end: what is under way in a library may swallow one cancellation. Never wait for ever."""
    pending = set(tasks)
    for _ in range(CANCELLATIONS):
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_S)
        if not pending:
            return
    for task in pending:
        logger.error("background_stuck", task=repr(task))
