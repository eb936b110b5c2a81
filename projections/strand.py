"""One claim's way through a stream: where it stands, what it knows of earlier events, its part in a transaction."""

from collections.abc import Sequence
from typing import Any

import msgspec

from domain.ports import Connection, Database, LogMessage
from projections import checkpoints
from projections.checkpoints import Move
from projections.intake import Batch, Intake, Known, Place
from projections.parked import park
from projections.projection import Claim, Projection


class Refused(Exception):
    """These events of the strand cannot be folded or written; one of them is the cause."""

    def __init__(self, strand: "Strand", events: Sequence[Any]) -> None:
        super().__init__()
        self.strand = strand
        self.events = events


class Step(msgspec.Struct, frozen=True):
    """What a strand made of some messages, from the position `old` on, ready to be written."""

    strand: "Strand"
    old: int
    batch: Batch
    rows: Any

    @property
    def move(self) -> Move:
        return Move(self.strand.claim, self.old, self.batch)

    async def write(self, connection: Connection) -> None:
        if self.batch.parked:
            await park(connection, self.strand.claim, self.batch.parked)
        if self.batch.events:
            await self.strand.projection.write(connection, self.rows)


class Strand:
    """`position` is the last message read, `committed` the last one whose rows are written."""

    def __init__(self, projection: Projection[Any], claim: Claim) -> None:
        self.projection = projection
        self.claim = claim
        self.position = self.committed = 0
        self.poison: dict[Place, str] = {}
        self._intake = Intake(projection, claim, Known(), self.poison)

    async def load(self, database: Database) -> None:
        """Start over from the checkpoint. Raises Fenced."""
        position, known = await checkpoints.load(database, self.claim)
        self.position = self.committed = position
        self._intake = Intake(self.projection, self.claim, known, self.poison)

    def read(self, messages: Sequence[LogMessage]) -> Step | None:
        """None when it has read them all. Raises Refused."""
        if messages[0].position <= self.position:
            messages = [message for message in messages if message.position > self.position]
            if not messages:
                return None
        batch = self._intake.read(messages)
        step = Step(self, self.position, batch, self._fold(batch.events))
        self.position = batch.last
        return step

    def _fold(self, events: Sequence[Any]) -> Any:
        if not events:
            return None
        try:
            return self.projection.fold(events)
        except Exception as failure:
            raise Refused(self, events) from failure
