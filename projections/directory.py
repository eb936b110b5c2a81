"""Directory: accounts, users and API keys. What is sealed in the log stays sealed here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain.account import AccountOpened
from domain.errors import NotFound
from domain.ids import AccountId, UserId
from domain.key import KeyIssued, KeyRevoked
from domain.ports import Connection, Database
from domain.user import ProfileChanged, Role, UserRegistered
from projections.paging import Mark, Page, after, checked_limit, page
from projections.projection import Event, Projection

_Values = tuple[Any, ...]


class DirectoryRows(msgspec.Struct):
    """New rows, and changes to rows that may be new here or older."""

    accounts: dict[str, _Values] = {}
    users: dict[str, _Values] = {}
    profiles: dict[str, _Values] = {}
    keys: dict[str, _Values] = {}
    revoked: dict[str, _Values] = {}


def fold(events: Sequence[Event]) -> DirectoryRows:
    rows = DirectoryRows()
    for event in events:
        _take(rows, event.fact, event.position)
    return rows


def _take(rows: DirectoryRows, fact: Any, position: int) -> None:
    if isinstance(fact, AccountOpened):
        rows.accounts[fact.account_id] = (fact.account_id, fact.owner, fact.at)
    elif isinstance(fact, UserRegistered):
        sealed = (fact.email_sealed, fact.name_sealed)
        rows.users[fact.user_id] = (fact.user_id, fact.account_id, *sealed, fact.role, fact.at, fact.at)
    elif isinstance(fact, ProfileChanged):
        rows.profiles[fact.user_id] = (fact.user_id, fact.name_sealed, fact.at)
    elif isinstance(fact, KeyIssued):
        shown = (fact.name, fact.prefix, fact.last4, fact.at, position, fact.expires_at)
        rows.keys[fact.key_id] = (fact.key_id, fact.account_id, fact.user_id, *shown)
    elif isinstance(fact, KeyRevoked):
        rows.revoked[fact.key_id] = (fact.key_id, fact.at)


async def write(connection: Connection, rows: DirectoryRows) -> None:
    """New rows first: a change may be to one of them."""
    for query, values in (
        (_ADD_ACCOUNTS, rows.accounts),
        (_ADD_USERS, rows.users),
        (_CHANGE_PROFILES, rows.profiles),
        (_ADD_KEYS, rows.keys),
        (_REVOKE_KEYS, rows.revoked),
    ):
        if values:
            await connection.execute(query, *zip(*values.values(), strict=True))


_ADD_ACCOUNTS = """
    INSERT INTO accounts (account_id, owner, opened_at)
    SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[])"""
_ADD_USERS = """
    INSERT INTO users (user_id, account_id, email_sealed, name_sealed, role, registered_at, changed_at)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
        $7::timestamptz[])"""
_CHANGE_PROFILES = """
    UPDATE users SET name_sealed = new.name_sealed, changed_at = new.changed_at
    FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS new (user_id, name_sealed, changed_at)
    WHERE users.user_id = new.user_id"""
_ADD_KEYS = """
    INSERT INTO keys (key_id, account_id, user_id, name, prefix, last4, created_at, position, expires_at)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
        $8::bigint[], $9::timestamptz[])"""
_REVOKE_KEYS = """
    UPDATE keys SET revoked_at = new.revoked_at
    FROM unnest($1::text[], $2::timestamptz[]) AS new (key_id, revoked_at)
    WHERE keys.key_id = new.key_id AND keys.revoked_at IS NULL"""


DIRECTORY = Projection(
    name="directory",
    streams=("EVT",),
    facts=(AccountOpened, UserRegistered, ProfileChanged, KeyIssued, KeyRevoked),
    fold=fold,
    write=write,
    tables=("accounts", "users", "keys"),
)


class UserRow(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    account_id: str
    email_sealed: str
    name_sealed: str
    role: Role
    registered_at: datetime
    changed_at: datetime


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    key_id: str
    account_id: str
    user_id: str
    name: str
    prefix: str
    last4: str
    created_at: datetime
    position: int
    expires_at: datetime | None
    revoked_at: datetime | None


class AccountRow(msgspec.Struct, frozen=True, kw_only=True):
    account_id: str
    owner: str
    opened_at: datetime


async def find_user(database: Database, account_id: AccountId, user_id: UserId) -> UserRow:
    """Raises NotFound, also for another account's user."""
    rows = await database.fetch("SELECT * FROM users WHERE user_id = $1 AND account_id = $2", user_id, account_id)
    if not rows:
        raise NotFound("user", user_id)
    return UserRow(**rows[0])


async def find_account(database: Database, account_id: AccountId) -> AccountRow:
    """Raises NotFound."""
    rows = await database.fetch("SELECT * FROM accounts WHERE account_id = $1", account_id)
    if not rows:
        raise NotFound("account", account_id)
    return AccountRow(**rows[0])


async def list_keys(
    database: Database, account_id: AccountId, *, revoked: bool = False, limit: int = 50, cursor: str | None = None
) -> Page[KeyRow]:
    """Newest first; revoked ones only when asked for."""
    rows = await database.fetch(
        """
        SELECT * FROM keys WHERE account_id = $1 AND position < $2 AND ($3 OR revoked_at IS NULL)
        ORDER BY position DESC LIMIT $4""",
        *(account_id, after(cursor).position, revoked, checked_limit(limit) + 1),
    )
    return page([KeyRow(**row) for row in rows], limit, lambda key: Mark(key.position))
