"""What the books say was spent: the read models, once they show all that is in the log."""

from datetime import datetime
from typing import Any

from domain.errors import BehindPosition, Unavailable
from domain.ids import AccountId
from domain.limits import Scope
from domain.ports import Database, LogEnds
from projections.parked import holds_up
from projections.positions import WAIT_S, wait_for
from projections.projection import Projection
from projections.route_spend import ROUTE_SPEND
from projections.spending import account_of, spent_by_account, spent_by_key, spent_on_name
from projections.usage import USAGE

READ: dict[Scope, tuple[Projection[Any], ...]] = {
    "key": (USAGE,),
    "account": (USAGE,),
    "model": (USAGE, ROUTE_SPEND),
    "plan": (USAGE,),
}


class RecordedSpend:
    """Implements `SpentSince`. A read model that lags is waited for; for one that stays behind, or could not take some
    event of the account, nothing is said: Unavailable. Its rows are needed for as long as the longest window, a month:
    what was deleted earlier would count as never spent."""

    def __init__(self, database: Database, log: LogEnds, wait_s: float = WAIT_S) -> None:
        self._database = database
        self._log = log
        self._wait_s = wait_s

    async def __call__(self, scope: Scope, subject: str, start: datetime) -> int:
        """In nano-USD. Subjects of models (or routes) and plans are `account/name`."""
        try:
            end = await self._log.last_position("REQ")
            await wait_for(self._database, READ[scope], {"REQ": end}, timeout_s=self._wait_s)
        except BehindPosition as behind:
            raise Unavailable(f"What was spent is not known yet: {behind}") from behind
        account, _, name = subject.partition("/")
        owner = await account_of(self._database, subject) if scope == "key" else AccountId(account)
        if owner is not None and await holds_up(self._database, [each.name for each in READ[scope]], owner):
            raise Unavailable("What was spent is not known: events are parked; see agg_parked_events in /metrics.")
        if scope == "key":
            return await spent_by_key(self._database, subject, start)
        if scope == "model":
            return await spent_on_name(self._database, AccountId(account), name, start)
        return await spent_by_account(self._database, AccountId(account), start)
