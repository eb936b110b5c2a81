"""What the books say was spent: the `usage` read model, once it shows all that is in the log."""

from datetime import datetime

from adapters.log_ends import JetStreamLogEnds
from domain.errors import BehindPosition, Unavailable
from domain.limits import Scope
from domain.ports import Database
from projections.positions import wait_for
from projections.usage import USAGE

COLUMNS: dict[Scope, str] = {"key": "key_id = $1", "account": "account_id = $1"}
OF_ONE_MODEL = "account_id = $1 AND model = $3"


class RecordedSpend:
    """Implements `SpentSince`."""

    def __init__(self, database: Database, log: JetStreamLogEnds) -> None:
        self._database = database
        self._log = log

    async def __call__(self, scope: Scope, subject: str, start: datetime) -> int:
        """In nano-USD. Subjects of models and plans are `account/name`."""
        try:
            await wait_for(self._database, [USAGE], {"REQ": await self._log.last_position("REQ")})
        except BehindPosition as behind:
            raise Unavailable(f"What was spent is not known yet: {behind}") from behind
        owner, _, name = subject.partition("/")
        where, values = COLUMNS.get(scope, COLUMNS["account"]), [owner]
        if scope == "model":
            where, values = OF_ONE_MODEL, [owner, name]
        rows = await self._database.fetch(
            f"SELECT coalesce(sum(cost_nanos), 0)::bigint AS spent FROM usage WHERE {where} AND hour >= $2",  # noqa: S608
            *(values[0], start, *values[1:]),
        )
        return rows[0]["spent"]
