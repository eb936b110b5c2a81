"""The `directory` read model as the account routes ask for it: at a position, then the rows."""

import msgspec

from api.accounts import KeyRow, UserRow
from domain.ids import AccountId, UserId
from domain.ports import Database
from projections.directory import DIRECTORY, list_keys
from projections.paging import Page
from projections.positions import wait_for


class PostgresDirectoryReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def user(self, user_id: UserId, *, min_position: int) -> UserRow | None:
        await self._reach(min_position)
        rows = await self._database.fetch("SELECT * FROM users WHERE user_id = $1", user_id)
        return msgspec.convert(dict(rows[0]), UserRow) if rows else None

    async def keys(self, account_id: AccountId, *, cursor: str | None, limit: int, min_position: int) -> Page[KeyRow]:
        await self._reach(min_position)
        page = await list_keys(self._database, account_id, revoked=True, limit=limit, cursor=cursor)
        return Page([msgspec.convert(row, KeyRow, from_attributes=True) for row in page.rows], page.next_cursor)

    async def _reach(self, position: int) -> None:
        if position:
            await wait_for(self._database, [DIRECTORY], {"EVT": position})
