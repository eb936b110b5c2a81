"""The loop that keeps claims of one stream up to date: take what waits, fold it, write rows and positions in one
transaction.

Claims that stand at the same place share all that can be shared, one feed and one commit, and keep what is their own:
their checkpoint, what they know, and what they park. The next messages are decoded and folded while the last ones
commit. Any failure drops everything in memory and starts again from the checkpoints, so that a row is written exactly
once whatever died, and wherever.
"""

import asyncio
import random
from collections.abc import Sequence
from time import monotonic
from typing import Any, NoReturn

import structlog

from domain.errors import Unavailable
from domain.ports import Database, FeedBroken, LogFeed, LogMessage, LogReader, RowsRefused
from projections import checkpoints
from projections.projection import Claim
from projections.strand import Refused, Step, Strand

IDLE_CHECK_S = 1.0
PACE_S = 0.05
STALLED_CHECKS = 2
MOST_PATIENCE = 64
"""So many idle checks in a row find messages in the stream that do not come: open a new feed. Twice as many each time
until something comes, so that what only is slow to arrive arrives."""
REFUSALS = (RowsRefused, ValueError, TypeError, OverflowError)
"""The database, or the driver that encodes for it, says no to a value."""
RETRY_S = (0.1, 0.5, 1.0, 2.0, 5.0)

log = structlog.get_logger()


class _TrialOver(Exception):
    """Rolls back a trial that went well."""


class _Unexplained(Exception):
    """A transaction was refused, and none of its events is the cause: its checkpoints, or what is parked."""


class Folder:
    """Folds one stream into the projections of some claims, all of one owner."""

    def __init__(
        self, strands: Sequence[Strand], database: Database, reader: LogReader, *, caught_up: bool = False
    ) -> None:
        self._strands = strands
        self._stream = strands[0].claim.stream
        self._database = database
        self._reader = reader
        self._log = log.bind(claims=[str(strand.claim) for strand in strands])
        self._paced_until = 0.0
        self._patience = STALLED_CHECKS
        self.caught_up = caught_up
        """Whether it was at the end of the stream at any time."""
        self.complete_at: int | None = None
        """The position at which the stream ended when it was last asked; None while messages come."""

    @property
    def committed(self) -> dict[Claim, int]:
        return {strand.claim: strand.committed for strand in self._strands}

    async def run(self) -> NoReturn:
        """Until cancelled. Raises Fenced when another owner has taken over."""
        failures, told = 0, ""
        while True:
            before = self.committed
            try:
                await self._run_until_refused()
            except (FeedBroken, Unavailable, _Unexplained) as failure:
                if self.committed != before:
                    failures, told = 0, ""
                reason = str(failure) or type(failure).__name__
                kind = reason.partition("\n")[0]
                if not (isinstance(failure, _Unexplained) and kind == told):
                    self._log.warning("projection_restarts", reason=reason)
                told = kind
                await _pause(failures)
                failures += 1

    async def _run_until_refused(self) -> None:
        """Returns when the cause of a refusal was found. Raises _Unexplained when it was not."""
        try:
            await self._run_from_checkpoint()
        except Refused as refused:
            await self._find_poison(refused)

    async def _run_from_checkpoint(self) -> None:
        for strand in self._strands:
            await strand.load(self._database)
        position = min(strand.position for strand in self._strands)
        async with self._reader.open(self._stream, position) as feed:
            await self._follow(feed, position)

    async def _follow(self, feed: LogFeed, position: int) -> None:
        """`position` is the last message read."""
        committing: asyncio.Task[None] | None = None
        idle = 0
        try:
            while True:
                _heed_cancellation()
                if not feed.waiting:
                    await self._pace()
                messages = _from(position + 1, await feed.take(IDLE_CHECK_S))
                if not messages:
                    idle = await self._check_idle(position, idle)
                    continue
                idle, self.complete_at, self._patience = 0, None, STALLED_CHECKS
                steps = [step for strand in self._strands if (step := strand.read(messages))]
                if committing:
                    await committing
                committing = asyncio.create_task(self._commit(steps, messages[-1]))
                position = messages[-1].position
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

    async def _commit(self, steps: Sequence[Step], last: LogMessage) -> None:
        if steps:
            await self._write(steps, fresh=last.behind == 0)
        self.caught_up = self.caught_up or last.behind == 0

    async def _write(self, steps: Sequence[Step], *, fresh: bool) -> None:
        step = steps[0]
        try:
            async with self._database.transaction() as connection:
                await checkpoints.move(connection, [step.move for step in steps], fresh=fresh)
                for step in steps:
                    await step.write(connection)
        except REFUSALS as refused:
            raise Refused(step.strand, step.batch.events) from refused
        for step in steps:
            step.strand.committed = step.batch.last

    async def _check_idle(self, position: int, idle: int) -> int:
        """How many checks in a row found messages that do not come. Raises FeedBroken after too many."""
        try:
            end = await self._reader.last_position(self._stream)
        except Unavailable:
            return 0
        if end <= position:
            self.caught_up, self.complete_at = True, position
            return 0
        if idle + 1 >= self._patience:
            self._patience = min(2 * self._patience, MOST_PATIENCE)
            raise FeedBroken(f"stalled at {position}, the stream is at {end}")
        return idle + 1

    async def _find_poison(self, refused: Refused) -> None:
        """The smallest number of events, from the first, that is refused: its last one is the cause.
        Raises _Unexplained."""
        strand, events = refused.strand, refused.events
        if not events or (reason := await self._trial(strand, events)) is None:
            raise _Unexplained(f"a write was refused, and not for its events: {refused.__cause__}")
        good, bad = 0, len(events)
        while bad - good > 1:
            middle = (good + bad) // 2
            if said := await self._trial(strand, events[:middle]):
                bad, reason = middle, said
            else:
                good = middle
        culprit = events[bad - 1]
        place = (culprit.position, 0 if isinstance(culprit, LogMessage) else culprit.index)
        strand.poison[place] = reason
        self._log.error("event_parked", claim=str(strand.claim), position=place[0], index=place[1], reason=reason)

    async def _trial(self, strand: Strand, events: Sequence[Any]) -> str | None:
        """Write and roll back; why it was refused, None when it was not."""
        try:
            async with self._database.transaction() as connection:
                await strand.projection.write(connection, strand.projection.fold(events))
                raise _TrialOver
        except _TrialOver:
            return None
        except Unavailable:
            raise
        except Exception as refused:
            return str(refused) or repr(refused)


async def _pause(failures: int) -> None:
    """Longer after each failure in a row, and not in step with others."""
    await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)] * (0.5 + random.random() / 2))  # noqa: S311


def _heed_cancellation() -> None:
    """A library beneath may have swallowed one, as `asyncio.wait_for` of Python 3.11 does when its result has come."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


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
