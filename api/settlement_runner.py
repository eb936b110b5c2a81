"""Runs settlement in a worker: one owner reads the request log and ticks; the others stand by."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import structlog

from commands.settle_usage import GRACE, SettleUsage
from domain.events import decode_batch
from domain.ports import FeedBroken, LogFeed, LogReader

STREAM = "REQ"
TICK_S = 0.2
PACE_S = 0.05
"""Under steady traffic, messages are taken together that came within so long."""
OWN_EVERY_S = 2.0
STALLED_S = 3.0
ROUND_S = 60.0
"""A round that takes longer waits for something that will not come: start over."""

logger = structlog.get_logger()


class Ownership(Protocol):
    """Raises Unavailable."""

    async def own(self) -> bool: ...


class SettlementRunner:
    def __init__(
        self, settle: SettleUsage, ownership: Ownership, reader: LogReader, clock: Callable[[], datetime]
    ) -> None:
        self._settle = settle
        self._ownership = ownership
        self._reader = reader
        self._clock = clock

    async def run(self) -> None:
        """Until ownership is lost or something fails; to be called again then."""
        if not await self._ownership.own():
            await asyncio.sleep(OWN_EVERY_S)
            return
        start = await self._settle.resume()
        logger.info("settlement_owned", resumes_after=start)
        async with self._reader.open(STREAM, start) as feed:
            await self._follow(feed)

    async def _follow(self, feed: LogFeed) -> None:
        owned_until = time.monotonic() + OWN_EVERY_S
        stalled_since: float | None = None
        bury_from = self._clock() + GRACE  # what kept us away may have kept workers from renewing
        while True:
            if time.monotonic() > owned_until:
                if not await self._ownership.own():
                    return
                owned_until = time.monotonic() + OWN_EVERY_S
            async with asyncio.timeout(ROUND_S):
                stalled_since = _stalled_since(stalled_since, await self._round(feed, bury_from))

    async def _round(self, feed: LogFeed, bury_from: datetime) -> bool:
        """Whether the log moved on, or there was nothing more in it."""
        head_read_at = self._clock()
        head = await self._reader.last_position(STREAM)
        before = self._settle.position
        await self._take(feed, TICK_S)
        await self._settle.tick(head, head_read_at, bury=head_read_at > bury_from)
        return before < self._settle.position or before >= head

    async def _take(self, feed: LogFeed, seconds: float) -> None:
        """Fold whatever arrives within so many seconds, without a hole. Raises FeedBroken."""
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            for message in await feed.take(left_s):
                expected = self._settle.position + 1
                if message.position > expected:
                    raise FeedBroken(f"expected {expected}, got {message.position}")
                if message.position == expected:
                    self._settle.apply(message.position, decode_batch(message.raw))
            if not feed.waiting:
                await asyncio.sleep(PACE_S)


def _stalled_since(since: float | None, moving: bool) -> float | None:
    """Raises FeedBroken when the log has had more for `STALLED_S` and none of it came."""
    if moving:
        return None
    since = since or time.monotonic()
    if time.monotonic() - since > STALLED_S:
        raise FeedBroken("the request log has more, and none of it comes")
    return since
