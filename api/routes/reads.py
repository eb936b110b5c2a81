"""What all reads share: waiting for a position, saying which one was reached, money in two forms, time ranges."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from domain.errors import InvalidInput
from domain.ids import AccountId
from domain.money import usd
from domain.ports import Database
from projections.positions import Positions, Reached, read_positions, wait_for
from projections.projection import Projection


class ReadOut(msgspec.Struct, kw_only=True):
    """`position` is how far this view has read the log, `as_of` when it was last known to show all there was."""

    position: str
    as_of: datetime


async def reach(database: Database, projection: Projection[Any], wanted: Positions, account_id: AccountId) -> Reached:
    """Wait for `wanted`; where the view stands then. Raises BehindPosition, Unavailable."""
    if wanted:
        await wait_for(database, [projection], wanted, account_id=account_id)
    return await read_positions(database, projection)


def money(name: str, nanos: int) -> dict[str, Any]:
    """`name_usd` as an exact decimal string and `name_nanos` as an integer."""
    return {f"{name}_usd": usd(nanos), f"{name}_nanos": nanos}


def instant(text: str, field: str) -> datetime:
    """A date or an RFC 3339 time; without an offset it is UTC. Raises InvalidInput."""
    try:
        parsed = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise InvalidInput(
            f"{field}: write a time as 2026-01-31T12:00:00Z or a day as 2026-01-31.", field=field
        ) from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
