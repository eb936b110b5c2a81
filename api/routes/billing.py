"""What the caller's account has: its balance at any instant, and every movement of it."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from api.auth import Caller
from api.compose import Services
from api.routes.pages import PAGE, PageLimit, ReadPageOut, read_page_out
from api.routes.reads import ReadOut, instant, money, reach
from domain.money import usd
from projections.balances import BALANCES, read_balance
from projections.ledger_entries import LEDGER_ENTRIES, LedgerEntry, balance_as_of, list_entries
from projections.positions import Positions


class BalanceOut(ReadOut, kw_only=True):
    """`held` is leased to gateway workers at the moment; `available` is the rest. Neither is known of the past."""

    account_id: str
    balance_usd: str
    balance_nanos: int
    held_usd: str | None = None
    held_nanos: int | None = None
    available_usd: str | None = None
    available_nanos: int | None = None
    at: datetime | None = None


class LedgerOut(ReadPageOut, kw_only=True):
    pass


class BillingController(Controller):
    path = "/billing"
    tags = ("billing",)

    @get("/balance", operation_id="read_balance", summary="The balance now, or exactly as of an instant")
    async def read_balance(
        self,
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
        wanted: NamedDependency[Positions],
        as_of: FromQuery[str | None] = None,
    ) -> BalanceOut:
        database = services.backbone.database
        account_id = caller.account_id
        if as_of is not None:
            at = instant(as_of, "as_of")
            reached = await reach(database, LEDGER_ENTRIES, wanted, account_id)
            nanos = await balance_as_of(database, account_id, at)
            return BalanceOut(
                account_id=account_id, **money("balance", nanos), at=at, position=str(reached), as_of=reached.as_of
            )
        reached = await reach(database, BALANCES, wanted, account_id)
        balance = await read_balance(database, account_id)
        return BalanceOut(
            account_id=account_id,
            **money("balance", balance.balance_nanos),
            **money("held", balance.leased_nanos),
            **money("available", balance.available_nanos),
            position=str(reached),
            as_of=reached.as_of,
        )

    @get("/ledger", operation_id="list_ledger_entries", summary="Every movement of the account's money, newest first")
    async def list_ledger(
        self,
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
        wanted: NamedDependency[Positions],
        limit: PageLimit = PAGE,
        cursor: FromQuery[str | None] = None,
    ) -> LedgerOut:
        database = services.backbone.database
        reached = await reach(database, LEDGER_ENTRIES, wanted, caller.account_id)
        page = await list_entries(database, caller.account_id, limit=limit, cursor=cursor)
        return read_page_out(LedgerOut, page, _entry, reached)


def _entry(entry: LedgerEntry) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": entry.entry_id,
        "type": entry.kind,
        "at": entry.at,
        "actor": entry.actor,
        "reason": entry.reason,
        **money("amount", entry.amount_nanos),
        **money("balance_after", entry.balance_after_nanos),
        "postings": [{"book": leg.book, **money("amount", leg.amount_nanos)} for leg in entry.legs],
        "position": f"EVT:{entry.position}",
        "hash": entry.hash,
        "prevhash": entry.prevhash,
    }
    if entry.by_model is not None:
        shown["settles"] = f"REQ:{entry.from_position}..{entry.to_position}"
        shown["by_model"] = {
            name: {**msgspec.to_builtins(usage), "cost_usd": usd(usage.cost_nanos)}
            for name, usage in entry.by_model.items()
        }
    return shown
