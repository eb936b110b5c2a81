"""Balances: what each account has, and how much of it workers hold. As the ledger's last event says."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, get_args

import msgspec

from domain.ids import AccountId
from domain.ledger import Ledger, LedgerEvent
from domain.ports import Connection, Database
from projections.projection import Event, Projection


class _After(msgspec.Struct):
    """The state that an aggregate's event carries."""

    after: Ledger


_after = msgspec.json.Decoder(_After)

COLUMNS = ("account_id", "balance_nanos", "leased_nanos", "open_leases", "settled_to", "position", "changed_at")
BalanceRows = dict[str, tuple[Any, ...]]


def fold(events: Sequence[Event]) -> BalanceRows:
    """The last event of each account."""
    last = {event.fact.account_id: event for event in events}
    return {account_id: _row(account_id, event) for account_id, event in last.items()}


def _row(account_id: str, event: Event) -> tuple[Any, ...]:
    ledger = _after.decode(event.envelope.data).after
    held = sum(1 for lease in ledger.leases.values() if not lease.closing)
    return (
        account_id,
        ledger.balance_nanos,
        ledger.leased_nanos,
        held,
        ledger.settled_to,
        event.position,
        event.fact.at,
    )


async def write(connection: Connection, rows: BalanceRows) -> None:
    await connection.execute(_WRITE, *zip(*rows.values(), strict=True))


_WRITE = f"""
    INSERT INTO balances ({", ".join(COLUMNS)})
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::integer[], $5::bigint[], $6::bigint[],
        $7::timestamptz[])
    ON CONFLICT (account_id)
    DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in COLUMNS)}"""  # noqa: S608  (constants)


BALANCES = Projection(
    name="balances", streams=("EVT",), facts=get_args(LedgerEvent), fold=fold, write=write, tables=("balances",)
)


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """`leased_nanos` is held by workers: available is the balance less that. REQ is settled up to `settled_to`."""

    account_id: str
    balance_nanos: int = 0
    leased_nanos: int = 0
    open_leases: int = 0
    settled_to: int = 0
    position: int = 0
    changed_at: datetime | None = None

    @property
    def available_nanos(self) -> int:
        return self.balance_nanos - self.leased_nanos


async def read_balance(database: Database, account_id: AccountId) -> Balance:
    """An account without any ledger event has nothing."""
    rows = await database.fetch("SELECT * FROM balances WHERE account_id = $1", account_id)
    return Balance(**rows[0]) if rows else Balance(account_id=account_id)
