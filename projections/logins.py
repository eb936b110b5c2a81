"""Log-ins: every session of a user, from log-in to its end."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain.ids import AccountId, UserId
from domain.ports import Connection, Database
from domain.session import EndReason, SessionClosed, SessionOpened, SessionRefreshed
from projections.paging import Mark, Page, after, checked_limit, page
from projections.projection import Event, Projection


class LoginRows(msgspec.Struct):
    """Sessions opened here; the last refresh and the end of sessions opened here or before."""

    opened: dict[str, tuple[Any, ...]] = {}
    refreshed: dict[str, tuple[Any, ...]] = {}
    closed: dict[str, tuple[Any, ...]] = {}


def fold(events: Sequence[Event]) -> LoginRows:
    rows = LoginRows()
    for event in events:
        fact = event.fact
        ident = fact.session_id
        if isinstance(fact, SessionOpened):
            rows.opened[ident] = (ident, fact.user_id, fact.account_id, fact.at, event.position, fact.expires_at)
        elif isinstance(fact, SessionRefreshed):
            rows.refreshed[ident] = (ident, fact.at, fact.expires_at, fact.generation)
        elif isinstance(fact, SessionClosed):
            rows.closed[ident] = (ident, fact.at, fact.reason)
    return rows


async def write(connection: Connection, rows: LoginRows) -> None:
    for query, values in ((_OPEN, rows.opened), (_REFRESH, rows.refreshed), (_CLOSE, rows.closed)):
        if values:
            await connection.execute(query, *zip(*values.values(), strict=True))


_OPEN = """
    INSERT INTO logins (session_id, user_id, account_id, opened_at, position, expires_at)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::timestamptz[])"""
_REFRESH = """
    UPDATE logins SET refreshed_at = new.refreshed_at, expires_at = new.expires_at, refreshes = new.refreshes
    FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::bigint[])
        AS new (session_id, refreshed_at, expires_at, refreshes)
    WHERE logins.session_id = new.session_id"""
_CLOSE = """
    UPDATE logins SET ended_at = new.ended_at, end_reason = new.end_reason
    FROM unnest($1::text[], $2::timestamptz[], $3::text[]) AS new (session_id, ended_at, end_reason)
    WHERE logins.session_id = new.session_id AND logins.ended_at IS NULL"""


LOGINS = Projection(
    name="logins",
    streams=("EVT",),
    facts=(SessionOpened, SessionRefreshed, SessionClosed),
    fold=fold,
    write=write,
    tables=("logins",),
)


class Login(msgspec.Struct, frozen=True, kw_only=True):
    session_id: str
    user_id: str
    account_id: str
    opened_at: datetime
    position: int
    expires_at: datetime
    refreshed_at: datetime | None
    refreshes: int
    ended_at: datetime | None
    end_reason: EndReason | None


async def list_logins(
    database: Database, account_id: AccountId, user_id: UserId, *, limit: int = 50, cursor: str | None = None
) -> Page[Login]:
    """Newest first."""
    rows = await database.fetch(
        """
        SELECT * FROM logins WHERE account_id = $1 AND user_id = $2 AND position < $3
        ORDER BY position DESC LIMIT $4""",
        *(account_id, user_id, after(cursor).position, checked_limit(limit) + 1),
    )
    return page([Login(**row) for row in rows], limit, lambda login: Mark(login.position))
