"""How far each projection is behind the log, and what it has set aside: for /health and /metrics."""

from datetime import datetime, timedelta

import msgspec

from domain.ports import Database, LogEnds

NO_LAG = timedelta(0)


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """`messages` and `seconds` behind the end of the stream: the age of the oldest message not shown yet."""

    projection: str
    stream: str
    bucket_from: int
    bucket_to: int
    position: int
    messages: int
    seconds: float
    owner: str | None
    parked: int


async def read_lags(database: Database, log: LogEnds, now: datetime) -> list[Lag]:
    """Of every checkpoint. Raises Unavailable when the log or the database does not answer."""
    rows = await database.fetch(
        """
        SELECT projection, stream, bucket_from, bucket_to, position,
            CASE WHEN owned_until > now() THEN owner END AS owner,
            (SELECT count(*) FROM parked_events AS parked WHERE parked.projection = checkpoints.projection
                AND parked.stream = checkpoints.stream AND bucket >= bucket_from AND bucket < bucket_to) AS parked
        FROM checkpoints ORDER BY projection, stream, bucket_from"""
    )
    ends = {stream: await log.last_position(stream) for stream in {row["stream"] for row in rows}}
    ages: dict[tuple[str, int], float] = {}
    for row in rows:
        place = (row["stream"], row["position"])
        if place not in ages:
            ages[place] = await _age_after(log, *place, ends[row["stream"]], now)
    return [
        Lag(
            **row,
            messages=max(0, ends[row["stream"]] - row["position"]),
            seconds=ages[row["stream"], row["position"]],
        )
        for row in rows
    ]


async def _age_after(log: LogEnds, stream: str, position: int, end: int, now: datetime) -> float:
    if position >= end:
        return 0.0
    stored_at = await log.time_at(stream, position + 1)
    return max(now - stored_at, NO_LAG).total_seconds() if stored_at else 0.0
