"""A person revokes an API key of their account."""

import msgspec

from commands.store import Cause, EventStore
from domain.errors import NotFound
from domain.ids import AccountId, KeyId
from domain.key import KEY, KeyRevoked, revoke


class RevokeKey(msgspec.Struct, frozen=True, kw_only=True):
    account_id: AccountId
    key_id: KeyId


class RevokeKeyHandler:
    """Revoking again is no error. Raises NotFound, also for another account's key; Unavailable."""

    def __init__(self, *, store: EventStore) -> None:
        self._store = store

    async def handle(self, command: RevokeKey, cause: Cause) -> int:
        if not (command.key_id.isascii() and command.key_id.isalnum()):
            raise NotFound("key", command.key_id)
        proposed = KeyRevoked(key_id=command.key_id, account_id=command.account_id, at=cause.at)
        address = KEY.at(command.key_id, owner=command.account_id)
        after = await self._store.change(KEY, address, lambda key: revoke(key, proposed), cause)
        return after.position
