"""The loop that keeps one claim up to date: take what waits, fold it, write rows and position in one transaction.

The next messages are decoded and folded while the last ones commit. Any failure drops everything in memory and
starts again from the checkpoint, so that a row is written exactly once whatever died, and wherever.
"""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any, NoReturn

import structlog

from domain.errors import Unavailable
from domain.ports import Connection, Database, FeedBroken, LogFeed, LogMessage, LogReader, RowsRefused
from projections import checkpoints
from projections.intake import Batch, Intake, Place
from projections.parked import park
from projections.projection import Claim, Projection

IDLE_CHECK_S = 1.0
PACE_S = 0.05
STALLED_CHECKS = 2
"""So many idle checks in a row find messages in the stream that do not come: open a new feed."""
REFUSALS = (RowsRefused, ValueError, TypeError, OverflowError)
"""The database, or the driver that encodes for it, says no to a value."""
RETRY_S = (0.1, 0.5, 1.0, 2.0, 5.0)

log = structlog.get_logger()


class _Refused(Exception):
    """These events cannot be folded or written; one of them is the cause."""

    def __init__(self, events: Sequence[Any]) -> None:
        super().__init__()
        self.events = events


class _TrialOver(Exception):
    """Rolls back a trial that went well."""


class Folder:
    """Folds one stream into one projection for one range of buckets."""

    def __init__(self, projection: Projection[Any], claim: Claim, database: Database, reader: LogReader) -> None:
        self._projection = projection
        self._claim = claim
        self._database = database
        self._reader = reader
        self._poison: dict[Place, str] = {}
        self._log = log.bind(projection=projection.name, stream=claim.stream, bucket_from=claim.bucket_from)
        self._paced_until = 0.0
        self.position = 0
        self.complete_at: int | None = None
        """The position at which the stream ended when it was last asked; None while messages come."""

    async def run(self) -> NoReturn:
        """Until cancelled. Raises Fenced when another owner has taken over."""
        failures = 0
        while True:
            before = self.position
            try:
                await self._run_from_checkpoint()
            except checkpoints.Fenced:
                raise
            except _Refused as refused:
                await self._find_poison(refused.events)
            except (FeedBroken, Unavailable) as failure:
                failures = 0 if self.position > before else failures + 1
                self._log.warning("projection_restarts", reason=str(failure) or type(failure).__name__)
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])

    async def _run_from_checkpoint(self) -> None:
        position, known = await checkpoints.load(self._database, self._claim)
        intake = Intake(self._projection, self._claim, known, self._poison)
        self.position = position
        async with self._reader.open(self._claim.stream, position) as feed:
            await self._follow(feed, intake, position)

    async def _follow(self, feed: LogFeed, intake: Intake, position: int) -> None:
        """`position` is the last message read, `self.position` the last one committed."""
        committing: asyncio.Task[None] | None = None
        idle = 0
        try:
            while True:
                await self._pace()
                messages = _from(position + 1, await feed.take(IDLE_CHECK_S))
                if not messages:
                    idle = await self._check_idle(position, idle)
                    continue
                idle, self.complete_at = 0, None
                batch = intake.read(messages)
                rows = self._fold(batch.events)
                if committing:
                    await committing
                committing = asyncio.create_task(self._commit(feed, position, batch, rows, messages[-1].behind == 0))
                position = batch.last
                if not feed.waiting:
                    await committing
                    committing = None
        finally:
            if committing:
                await _give_up(committing)

    async def _pace(self) -> None:
        """Under steady traffic a transaction holds what came in `PACE_S`; what follows a pause goes at once."""
        await asyncio.sleep(max(0.0, self._paced_until - monotonic()))
        self._paced_until = monotonic() + PACE_S

    def _fold(self, events: Sequence[Any]) -> Any:
        if not events:
            return None
        try:
            return self._projection.fold(events)
        except Exception as failure:
            raise _Refused(events) from failure

    async def _commit(self, feed: LogFeed, old: int, batch: Batch, rows: Any, fresh: bool) -> None:
        try:
            async with self._database.transaction() as connection:
                await checkpoints.move(connection, self._claim, old, batch, fresh=fresh)
                if batch.parked:
                    await park(connection, self._claim, batch.parked)
                if batch.events:
                    await self._projection.write(connection, rows)
        except REFUSALS as refused:
            raise _Refused(batch.events) from refused
        self.position = batch.last
        await feed.done(batch.last)

    async def _check_idle(self, position: int, idle: int) -> int:
        """How many checks in a row found messages that do not come. Raises FeedBroken after too many."""
        try:
            end = await self._reader.last_position(self._claim.stream)
        except Unavailable:
            return 0
        if end <= position:
            self.complete_at = position
            return 0
        if idle + 1 >= STALLED_CHECKS:
            raise FeedBroken(f"stalled at {position}, the stream is at {end}")
        return idle + 1

    async def _find_poison(self, events: Sequence[Any]) -> None:
        """The smallest number of events, from the first, that is refused: its last one is the cause."""
        if not events or (reason := await self._trial(events)) is None:
            self._log.warning("projection_restarts", reason="a write was refused and is not any more")
            await asyncio.sleep(RETRY_S[0])
            return
        good, bad = 0, len(events)
        while bad - good > 1:
            middle = (good + bad) // 2
            if refused := await self._trial(events[:middle]):
                bad, reason = middle, refused
            else:
                good = middle
        culprit = events[bad - 1]
        place = (culprit.position, 0 if isinstance(culprit, LogMessage) else culprit.index)
        self._poison[place] = reason
        self._log.error("event_parked", position=place[0], index=place[1], reason=reason)

    async def _trial(self, events: Sequence[Any]) -> str | None:
        """Write and roll back; why it was refused, None when it was not."""
        try:
            async with self._database.transaction() as connection:
                await self._write_all(connection, events)
                raise _TrialOver
        except _TrialOver:
            return None
        except Unavailable:
            raise
        except Exception as refused:
            return str(refused) or repr(refused)

    async def _write_all(self, connection: Connection, events: Sequence[Any]) -> None:
        await self._projection.write(connection, self._projection.fold(events))


async def _give_up(committing: asyncio.Task[None]) -> None:
    """End it; its outcome does not matter, for the checkpoint is read anew. A cancellation of ours is not lost."""
    committing.cancel()
    await asyncio.wait([committing])
    if not committing.cancelled():
        committing.exception()


def _from(expected: int, messages: list[LogMessage]) -> list[LogMessage]:
    """The messages from `expected` on, without a hole. Raises FeedBroken."""
    if messages and messages[0].position < expected:
        messages = [message for message in messages if message.position >= expected]
    if messages and (messages[0].position != expected or messages[-1].position - expected + 1 != len(messages)):
        raise FeedBroken(f"expected {expected}, got {messages[0].position}..{messages[-1].position}")
    return messages
