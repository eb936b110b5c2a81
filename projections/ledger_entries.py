"""Ledger entries: every fact that moved money, with its two legs, the balance after it and its place in the chain."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain.ids import AccountId
from domain.ledger import CreditGranted, ModelUsage, Posting, UsageCharged, postings
from domain.ports import Connection, Database
from projections.paging import Mark, Page, after, checked_limit, page
from projections.projection import Event, Projection

COLUMNS = (
    *("position", "account_id", "entry_id", "sequence", "kind", "at", "actor", "reason", "amount_nanos"),
    *("balance_after_nanos", "legs", "from_position", "to_position", "by_model", "hash", "prevhash"),
)
EntryRows = list[tuple[Any, ...]]


def fold(events: Sequence[Event]) -> EntryRows:
    return [_row(event) for event in events]


def _row(event: Event) -> tuple[Any, ...]:
    fact: CreditGranted | UsageCharged = event.fact
    envelope = event.envelope
    legs = postings(fact)
    moved = sum(leg.amount_nanos for leg in legs if leg.book == "customer")
    return (
        *(event.position, fact.account_id, envelope.id, envelope.sequence, envelope.type, fact.at, envelope.actor),
        *(fact.reason if isinstance(fact, CreditGranted) else "", moved, fact.balance_after_nanos, legs),
        *_settled(fact),
        *(hashlib.sha256(event.message.raw).hexdigest(), envelope.prevhash),
    )


def _settled(fact: CreditGranted | UsageCharged) -> tuple[Any, ...]:
    if isinstance(fact, UsageCharged):
        return fact.from_position, fact.to_position, fact.by_model
    return None, None, None


async def write(connection: Connection, rows: EntryRows) -> None:
    await connection.copy("ledger_entries", COLUMNS, rows)


LEDGER_ENTRIES = Projection(
    name="ledger_entries",
    streams=("EVT",),
    facts=(CreditGranted, UsageCharged),
    fold=fold,
    write=write,
    tables=("ledger_entries",),
)


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """`amount_nanos` is what it did to the balance. `hash` is of the event as stored; the next event of the account's
    ledger carries it as `prevhash`."""

    position: int
    account_id: str
    entry_id: str
    sequence: int
    kind: str
    at: datetime
    actor: str
    reason: str
    amount_nanos: int
    balance_after_nanos: int
    legs: list[Posting]
    from_position: int | None
    to_position: int | None
    by_model: dict[str, ModelUsage] | None
    hash: str
    prevhash: str


async def list_entries(
    database: Database, account_id: AccountId, *, limit: int = 50, cursor: str | None = None
) -> Page[LedgerEntry]:
    """Newest first."""
    rows = await database.fetch(
        "SELECT * FROM ledger_entries WHERE account_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3",
        *(account_id, after(cursor).position, checked_limit(limit) + 1),
    )
    entries = [msgspec.convert(dict(row), LedgerEntry) for row in rows]
    return page(entries, limit, lambda entry: Mark(entry.position))


async def locate_charge(database: Database, account_id: AccountId, position: int) -> int | None:
    """Where in `EVT` the charge stands that settles what ended at `position` of `REQ`."""
    rows = await database.fetch(
        "SELECT position FROM ledger_entries WHERE account_id = $1 AND from_position < $2 AND $2 <= to_position",
        *(account_id, position),
    )
    return rows[0]["position"] if rows else None


async def balance_as_of(database: Database, account_id: AccountId, at: datetime) -> int:
    """In nano-USD, after everything that was booked at or before `at`."""
    rows = await database.fetch(
        "SELECT balance_after_nanos FROM ledger_entries WHERE account_id = $1 AND at <= $2"
        " ORDER BY position DESC LIMIT 1",
        *(account_id, at),
    )
    return rows[0]["balance_after_nanos"] if rows else 0
