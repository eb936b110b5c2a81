"""Credit for an account, with a reason and an actor."""

import msgspec

from commands.store import Cause, EventStore
from domain.ids import AccountId
from domain.ledger import LEDGER, CreditGranted, CreditSource, grant


class GrantCredit(msgspec.Struct, frozen=True, kw_only=True):
    account_id: AccountId
    amount_nanos: int
    source: CreditSource
    reason: str


class GrantCreditHandler:
    """Raises InvalidInput, Unavailable."""

    def __init__(self, *, store: EventStore) -> None:
        self._store = store

    async def handle(self, command: GrantCredit, cause: Cause) -> int:
        """The position of the grant."""
        proposed = CreditGranted(
            account_id=command.account_id,
            at=cause.at,
            amount_nanos=command.amount_nanos,
            source=command.source,
            reason=command.reason,
        )
        address = LEDGER.at(command.account_id)
        return (await self._store.change(LEDGER, address, lambda ledger: grant(ledger, proposed), cause)).position
