"""Usage: what was requested, used and charged, per hour, key, model and provider of an account."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from operator import add
from typing import Literal

import msgspec

from domain.ids import AccountId
from domain.ports import Connection, Database
from domain.pricing import TOKEN_CLASSES
from domain.request import (
    RequestAbandoned,
    RequestAdmitted,
    RequestCached,
    RequestCompleted,
    RequestEnded,
    RequestFailed,
)
from projections.projection import Event, Projection

FAILED = frozenset((RequestFailed, RequestAbandoned))
COUNTERS = ("requests", "failed", *TOKEN_CLASSES, "cost_nanos")
NOTHING = (0,) * len(COUNTERS)
AN_HOUR = timedelta(hours=1)
NO_HOUR = datetime.min.replace(tzinfo=UTC)

Dimensions = tuple[str, str, str, str]
"""account, key ("" without one), model, provider"""
UsageRows = dict[datetime, dict[Dimensions, tuple[int, ...]]]
"""Of each hour."""

GroupBy = Literal["hour", "day", "model", "provider", "key"]
GROUPS: dict[GroupBy, str] = {
    "hour": """to_char(hour, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')""",
    "day": "to_char(hour, 'YYYY-MM-DD')",
    "model": "model",
    "provider": "provider",
    "key": "key_id",
}


def fold(events: Sequence[Event]) -> UsageRows:
    """Only ends count. An hour is that of the end."""
    rows: UsageRows = {}
    hour = next_hour = NO_HOUR
    for event in events:
        end = event.fact
        if type(end) is RequestAdmitted:
            continue
        if not hour <= end.at < next_hour:  # hashing and rounding each time would cost as much as all the rest
            hour = end.at.replace(minute=0, second=0, microsecond=0)
            next_hour = hour + AN_HOUR
        counters = rows.setdefault(hour, {})
        dimensions = (end.account_id, end.key_id or "", end.model, end.provider)
        counted = counters.get(dimensions, NOTHING)
        counters[dimensions] = tuple(map(add, counted, _counts(end)))
    return rows


def _counts(end: RequestEnded) -> tuple[int, ...]:
    return (1, type(end) in FAILED, *msgspec.structs.astuple(end.tokens), end.cost_nanos)


_WRITE = f"""
    INSERT INTO usage (account_id, hour, key_id, model, provider, {", ".join(COUNTERS)})
    SELECT account_id, hour, key_id, model, provider, {", ".join(f"coalesce({name}, 0)" for name in COUNTERS)}
    FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[],
        {", ".join(f"${number}::bigint[]" for number in range(6, 6 + len(COUNTERS)))})
        AS counted (hour, account_id, key_id, model, provider, {", ".join(COUNTERS)})
    ON CONFLICT (account_id, hour, key_id, model, provider)
    DO UPDATE SET {", ".join(f"{name} = usage.{name} + excluded.{name}" for name in COUNTERS)}"""  # noqa: S608


async def write(connection: Connection, rows: UsageRows) -> None:
    """A counter that is 0 in all rows, as most token classes are, is sent as an empty array: `unnest` fills it up."""
    if rows:
        hours = [hour for hour, counters in rows.items() for _ in counters]
        dimensions = [dimensions for counters in rows.values() for dimensions in counters]
        counts = [counts for counters in rows.values() for counts in counters.values()]
        sparse = [column if any(column) else () for column in zip(*counts, strict=True)]
        await connection.execute(_WRITE, hours, *zip(*dimensions, strict=True), *sparse)


USAGE = Projection(
    name="usage",
    streams=("REQ",),
    facts=(RequestAdmitted, RequestCompleted, RequestFailed, RequestAbandoned, RequestCached),
    fold=fold,
    write=write,
    tables=("usage",),
)


class UsageRow(msgspec.Struct, frozen=True):
    """Sums of one group; in the totals `group` is empty."""

    group: str = ""
    requests: int = 0
    failed: int = 0
    input: int = 0
    cached_input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    cost_nanos: int = 0


class UsageReport(msgspec.Struct, frozen=True):
    rows: list[UsageRow]
    totals: UsageRow


_SUMS = ", ".join(f"sum({name})::bigint AS {name}" for name in COUNTERS)
_READ = {
    group_by: f"""
    SELECT {group} AS "group", {_SUMS} FROM usage
    WHERE account_id = $1 AND hour >= $2 AND hour < $3 GROUP BY 1 ORDER BY 1"""  # noqa: S608  (constants)
    for group_by, group in GROUPS.items()
}


async def read_usage(
    database: Database, account_id: AccountId, start: datetime, end: datetime, group_by: GroupBy = "day"
) -> UsageReport:
    """The hours that begin in `[start, end)`, ordered by group."""
    rows = [UsageRow(**row) for row in await database.fetch(_READ[group_by], account_id, start, end)]
    return UsageReport(rows, UsageRow("", *(sum(getattr(row, name) for row in rows) for name in COUNTERS)))
