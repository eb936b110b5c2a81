"""A person makes an API key. Its secret is in the answer and nowhere else."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from commands.store import Cause, EventStore
from domain.ids import AccountId, KeyId, UserId
from domain.key import KEY, KeyIssued, issue
from domain.ports import ApiKeys


class IssueKey(msgspec.Struct, frozen=True, kw_only=True):
    account_id: AccountId
    user_id: UserId
    name: str
    expires_at: datetime | None = None


class IssuedKey(msgspec.Struct, frozen=True, kw_only=True):
    issued: KeyIssued
    secret: str
    position: int

    def __repr__(self) -> str:
        return f"IssuedKey({self.issued.key_id})"


class IssueKeyHandler:
    """Raises InvalidInput, Unavailable."""

    def __init__(self, *, store: EventStore, api_keys: ApiKeys, new_id: Callable[[], str]) -> None:
        self._store = store
        self._api_keys = api_keys
        self._new_id = new_id

    async def handle(self, command: IssueKey, cause: Cause) -> IssuedKey:
        made = self._api_keys.make()
        proposed = KeyIssued(
            key_id=KeyId(self._new_id()),
            account_id=command.account_id,
            at=cause.at,
            user_id=command.user_id,
            name=command.name.strip(),
            prefix=made.prefix,
            last4=made.last4,
            secret_hash=made.secret_hash,
            expires_at=command.expires_at,
        )
        address = KEY.at(proposed.key_id, owner=command.account_id)
        after = await self._store.change(KEY, address, lambda key: issue(key, proposed), cause)
        return IssuedKey(issued=proposed, secret=made.secret, position=after.position)
