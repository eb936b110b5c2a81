"""Events that a projection could not take: kept with the reason, in the transaction that passed them by."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from domain.ids import bucket_of
from domain.ports import Connection, Database
from projections.intake import Parked
from projections.projection import Claim

COLUMNS = (
    *("projection", "stream", "position", "index", "account_id", "bucket", "type", "subject", "time"),
    *("raw", "error", "is_cause"),
)


async def park(connection: Connection, claim: Claim, events: Sequence[Parked]) -> None:
    rows = [
        (
            claim.projection,
            claim.stream,
            event.message.position,
            event.index,
            event.account_id,
            bucket_of(event.account_id),
            event.type,
            event.message.subject,
            event.message.time,
            event.raw,
            event.error,
            event.is_cause,
        )
        for event in events
    ]
    await connection.copy("parked_events", COLUMNS, rows)


class ParkedAccount(msgspec.Struct, frozen=True):
    """What stands still: the first event that could not be taken, and how many wait behind it."""

    projection: str
    account_id: str
    events: int
    position: int
    type: str
    error: str
    parked_at: datetime


async def holds_up(database: Database, projections: Sequence[str], account_id: str) -> bool:
    """Whether one of these read models stands still for the account, so that it tells too little."""
    found = await database.fetch(
        "SELECT 1 FROM parked_events WHERE projection = ANY ($1) AND account_id = $2 LIMIT 1",
        list(projections),
        account_id,
    )
    return bool(found)


async def list_parked(database: Database) -> list[ParkedAccount]:
    rows = await database.fetch(
        """
        SELECT DISTINCT ON (projection, account_id) projection, account_id,
            count(*) OVER (PARTITION BY projection, account_id) AS events, position, type, error, parked_at
        FROM parked_events ORDER BY projection, account_id, position, index"""
    )
    return [ParkedAccount(**row) for row in rows]
