"""Whether the request behind an `Idempotency-Key` has ended, as the `requests` read model knows it."""

from collections.abc import Callable
from datetime import datetime, timedelta

from domain.idempotency import Claim
from domain.ports import Database

NEVER_ADMITTED = timedelta(minutes=10)
"""A request that is not to be seen so long after its claim never began: its worker died, or it was no AI request."""


class RecordedEnds:
    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def ended_at(self, claim: Claim) -> datetime | None:
        """Raises Unavailable."""
        rows = await self._database.fetch("SELECT ended_at FROM requests WHERE request_id = $1", claim.request_id)
        if rows:
            return rows[0]["ended_at"]
        given_up_at = claim.since + NEVER_ADMITTED
        return given_up_at if given_up_at <= self._clock() else None
