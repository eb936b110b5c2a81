"""An account: who pays. Its credit is in `ledger`."""

from datetime import datetime

import msgspec

from domain.aggregate import Aggregate
from domain.ids import AccountId, UserId


class AccountOpened(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="account.opened.v1"):
    account_id: AccountId
    owner: UserId
    at: datetime


class Account(msgspec.Struct, frozen=True):
    account_id: AccountId = AccountId("")
    owner: UserId = UserId("")
    opened_at: datetime | None = None


def open_account(account: Account, proposed: AccountOpened) -> list[AccountOpened]:
    return [] if account.account_id else [proposed]


def evolve(account: Account, event: AccountOpened) -> Account:
    return Account(event.account_id, event.owner, event.at)


ACCOUNT = Aggregate("account", Account, evolve)
