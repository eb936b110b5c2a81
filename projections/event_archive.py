"""Event archive: the second copy of the log. Every message, byte for byte."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from domain.ports import Connection, Database, LogMessage
from projections.projection import Projection, Stream

COLUMNS = ("stream", "position", "subject", "time", "raw")
ArchiveRows = list[tuple[str, int, str, datetime, bytes]]


def fold(messages: Sequence[LogMessage]) -> ArchiveRows:
    return [(message.stream, message.position, message.subject, message.time, message.raw) for message in messages]


async def write(connection: Connection, rows: ArchiveRows) -> None:
    await connection.copy("event_archive", COLUMNS, rows)


EVENT_ARCHIVE = Projection(
    name="event_archive",
    streams=("EVT", "REQ"),
    facts=None,
    fold=fold,
    write=write,
    tables=("event_archive",),
)


class ArchivedMessage(msgspec.Struct, frozen=True):
    stream: str
    position: int
    subject: str
    time: datetime
    raw: bytes


async def read_archive(
    database: Database, stream: Stream, *, after: int = 0, limit: int = 1000
) -> list[ArchivedMessage]:
    """In the order of the stream."""
    rows = await database.fetch(
        "SELECT * FROM event_archive WHERE stream = $1 AND position > $2 ORDER BY position LIMIT $3",
        *(stream, after, limit),
    )
    return [ArchivedMessage(**row) for row in rows]


async def archived_to(database: Database, stream: Stream) -> int:
    """The last position that it holds."""
    rows = await database.fetch(
        "SELECT coalesce(max(position), 0) AS position FROM event_archive WHERE stream = $1", stream
    )
    return rows[0]["position"]
