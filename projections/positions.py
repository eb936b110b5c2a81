"""Positions in the log, as callers write them (`EVT:5,REQ:12`), and reads that wait for one.

A read of money waits longer than for its own position: a request moves money only when settlement has charged it.
So `balances` and `ledger_entries` have reached `REQ:n` when settlement has settled up to n and they show its charges.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import msgspec

from domain.errors import BehindPosition, InvalidInput
from domain.ids import AccountId, bucket_of
from domain.ports import Database
from projections.balances import BALANCES
from projections.ledger_entries import LEDGER_ENTRIES
from projections.projection import STREAMS, Projection

FIRST_POLL_S = 0.005
LONGEST_POLL_S = 0.05
WAIT_S = 5.0
NEVER = datetime.fromtimestamp(0, UTC)
MONEY = frozenset({BALANCES.name, LEDGER_ENTRIES.name})

Positions = Mapping[str, int]


class Reached(msgspec.Struct, frozen=True):
    """Where a read model stands, and when it was last known to show everything there was."""

    positions: dict[str, int]
    as_of: datetime

    def __str__(self) -> str:
        return format_positions(self.positions)


def parse_positions(text: str) -> dict[str, int]:
    """Raises InvalidInput."""
    positions: dict[str, int] = {}
    for part in text.split(","):
        stream, _, number = part.strip().partition(":")
        if stream not in STREAMS or not number.isascii() or not number.isdigit() or len(number) > 18:
            raise InvalidInput("A position looks like REQ:12 or EVT:5,REQ:12.", field="min_position")
        positions[stream] = max(int(number), positions.get(stream, 0))
    return positions


def format_positions(positions: Positions) -> str:
    return ",".join(f"{stream}:{position}" for stream, position in sorted(positions.items()))


async def read_positions(database: Database, projection: Projection[Any]) -> Reached:
    """Of all ranges of buckets the one that is furthest behind."""
    rows = await database.fetch(
        """
        SELECT stream, min(position) AS position, min(fresh_at) AS fresh_at FROM checkpoints
        WHERE projection = $1 GROUP BY stream""",
        projection.name,
    )
    return Reached(
        {row["stream"]: row["position"] for row in rows}, min((row["fresh_at"] for row in rows), default=NEVER)
    )


async def wait_for(
    database: Database,
    projections: Sequence[Projection[Any]],
    wanted: Positions,
    *,
    account_id: AccountId | None = None,
    timeout_s: float = WAIT_S,
) -> None:
    """Until all of them show the log up to `wanted`; for money of one account only its settlement counts.

    Streams that a projection does not read are no concern of its. Raises BehindPosition after `timeout_s`.
    """
    give_up = monotonic() + timeout_s
    for projection in projections:
        waited_for = {stream: wanted[stream] for stream in projection.streams if stream in wanted}
        if projection.name in MONEY and "REQ" in wanted:
            settled_at = await _until_settled(database, wanted["REQ"], account_id, give_up)
            waited_for["EVT"] = max(settled_at, waited_for.get("EVT", 0))
        await _until_reached(database, projection, waited_for, give_up)


async def _until_reached(database: Database, projection: Projection[Any], wanted: Positions, give_up: float) -> None:
    pause = FIRST_POLL_S
    while wanted:
        reached = (await read_positions(database, projection)).positions
        if all(reached.get(stream, 0) >= position for stream, position in wanted.items()):
            return
        pause = await _pause(pause, give_up, wanted, {stream: reached.get(stream, 0) for stream in wanted})


async def _until_settled(database: Database, position: int, account_id: AccountId | None, give_up: float) -> int:
    """The log position of the charges that settlement made up to `position`."""
    bucket = None if account_id is None else bucket_of(account_id)
    pause = FIRST_POLL_S
    while True:
        (row,) = await database.fetch(
            """
            SELECT coalesce(min(settled_position), 0) AS settled, coalesce(max(evt_position), 0) AS charged
            FROM settlement WHERE $1::integer IS NULL OR (bucket_from <= $1 AND $1 < bucket_to)""",
            bucket,
        )
        if row["settled"] >= position:
            return row["charged"]
        pause = await _pause(pause, give_up, {"REQ": position}, {"REQ": row["settled"]})


async def _pause(pause: float, give_up: float, wanted: Positions, reached: Positions) -> float:
    """Sleep; how long the next time."""
    if monotonic() >= give_up:
        raise BehindPosition(format_positions(wanted), format_positions(reached))
    await asyncio.sleep(pause)
    return min(1.5 * pause, LONGEST_POLL_S)
