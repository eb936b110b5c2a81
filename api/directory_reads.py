"""The `directory` read model as the account routes ask for it: at a position, then the rows."""

import msgspec

from api.accounts import KeyRow, UserRow
from domain.errors import NotFound
from domain.ids import AccountId, UserId
from domain.ports import Database
from projections.directory import DIRECTORY, find_user, list_keys
from projections.paging import Page
from projections.positions import Positions, wait_for


class PostgresDirectoryReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def user(self, account_id: AccountId, user_id: UserId, *, wanted: Positions) -> UserRow | None:
        await wait_for(self._database, [DIRECTORY], wanted)
        try:
            row = await find_user(self._database, account_id, user_id)
        except NotFound:
            return None
        return msgspec.convert(row, UserRow, from_attributes=True)

    async def keys(self, account_id: AccountId, *, cursor: str | None, limit: int, wanted: Positions) -> Page[KeyRow]:
        await wait_for(self._database, [DIRECTORY], wanted)
        page = await list_keys(self._database, account_id, revoked=True, limit=limit, cursor=cursor)
        return Page([msgspec.convert(row, KeyRow, from_attributes=True) for row in page.rows], page.next_cursor)
