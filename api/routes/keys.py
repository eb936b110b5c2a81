"""API keys of the caller's account."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from api.accounts import Accounts, KeyRow
from api.auth import Caller
from api.dependencies import cause_of, position_header
from api.routes.auth import NO_STORE, VISIBLE_S
from api.routes.pages import PAGE, PageLimit, page_out
from commands.issue_key import IssueKey
from commands.revoke_key import RevokeKey
from domain.ids import KeyId
from projections.positions import Positions


class KeyIn(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class KeyOut(msgspec.Struct, kw_only=True):
    id: str
    name: str
    prefix: str
    last4: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class NewKeyOut(KeyOut, kw_only=True):
    """`key` is shown here once and never again."""

    key: str


class KeysOut(msgspec.Struct, kw_only=True):
    data: list[KeyOut]
    has_more: bool
    next_cursor: str | None


class KeyController(Controller):
    path = "/keys"
    tags = ("keys",)

    @post(operation_id="issue_key", summary="Make an API key; its secret is shown once")
    async def issue_key(
        self,
        data: JSONBody[KeyIn],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        accounts: NamedDependency[Accounts],
    ) -> Response[NewKeyOut]:
        caller.require_session()
        command = IssueKey(
            account_id=caller.account_id, user_id=caller.user_id, name=data.name, expires_at=data.expires_at
        )
        done = await accounts.issue_key.handle(command, cause_of(request, accounts, caller.actor))
        digest = bytes.fromhex(done.issued.secret_hash)
        await accounts.directory.until(lambda: accounts.directory.key_by_hash(digest) is not None, VISIBLE_S)
        body = NewKeyOut(
            id=done.issued.key_id,
            name=done.issued.name,
            prefix=done.issued.prefix,
            last4=done.issued.last4,
            created_at=done.issued.at,
            expires_at=done.issued.expires_at,
            key=done.secret,
        )
        return Response(body, headers={**NO_STORE, **position_header(done.position)})

    @get(operation_id="list_keys", summary="The account's API keys, newest first")
    async def list_keys(
        self,
        caller: NamedDependency[Caller],
        accounts: NamedDependency[Accounts],
        wanted: NamedDependency[Positions],
        limit: PageLimit = PAGE,
        cursor: FromQuery[str | None] = None,
    ) -> KeysOut:
        page = await accounts.reads.keys(caller.account_id, cursor=cursor, limit=limit, wanted=wanted)
        return page_out(KeysOut, page, _key_out)

    @delete("/{key_id:str}", operation_id="revoke_key", summary="Revoke an API key: it stops at once")
    async def revoke_key(
        self,
        key_id: FromPath[str],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        accounts: NamedDependency[Accounts],
    ) -> Response[None]:
        caller.require_session()
        command = RevokeKey(account_id=caller.account_id, key_id=KeyId(key_id))
        position = await accounts.revoke_key.handle(command, cause_of(request, accounts, caller.actor))
        await accounts.directory.until(lambda: accounts.directory.is_revoked(command.key_id), VISIBLE_S)
        return Response(None, headers=position_header(position))


def _key_out(row: KeyRow) -> KeyOut:
    return KeyOut(
        id=row.key_id,
        name=row.name,
        prefix=row.prefix,
        last4=row.last4,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
