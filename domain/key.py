"""An API key: shown once, kept as a keyed hash."""

from datetime import datetime
from typing import TypeAlias

import msgspec

from domain.aggregate import Aggregate
from domain.errors import InvalidInput, NotFound
from domain.ids import AccountId, KeyId, UserId

LONGEST_NAME = 100


class KeyFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    key_id: KeyId
    account_id: AccountId
    at: datetime


class KeyIssued(KeyFact, frozen=True, kw_only=True, tag="key.issued.v1"):
    """`prefix` and `last4` are what lists show; `secret_hash` is HMAC-SHA256 in hex."""

    user_id: UserId
    name: str
    prefix: str
    last4: str
    secret_hash: str
    expires_at: datetime | None = None


class KeyRevoked(KeyFact, frozen=True, kw_only=True, tag="key.revoked.v1"):
    pass


KeyEvent: TypeAlias = KeyIssued | KeyRevoked


class Key(msgspec.Struct, frozen=True):
    key_id: KeyId = KeyId("")
    account_id: AccountId = AccountId("")
    user_id: UserId = UserId("")
    secret_hash: str = ""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


def issue(key: Key, proposed: KeyIssued) -> list[KeyEvent]:
    if key.key_id:
        return []
    if not proposed.name.strip() or len(proposed.name) > LONGEST_NAME:
        raise InvalidInput(f"A key's name has 1 to {LONGEST_NAME} characters.", field="name")
    if proposed.expires_at is not None and proposed.expires_at <= proposed.at:
        raise InvalidInput("A key cannot expire in the past.", field="expires_at")
    return [proposed]


def revoke(key: Key, proposed: KeyRevoked) -> list[KeyEvent]:
    """Another account's key is as absent as one that never was."""
    if not key.key_id or key.account_id != proposed.account_id:
        raise NotFound("key", proposed.key_id)
    return [] if key.revoked_at else [proposed]


def evolve(key: Key, event: KeyEvent) -> Key:
    if isinstance(event, KeyRevoked):
        return msgspec.structs.replace(key, revoked_at=event.at)
    return Key(event.key_id, event.account_id, event.user_id, event.secret_hash, event.expires_at)


KEY = Aggregate("key", Key, evolve)
