"""What the routes of people, sessions and keys work with, put together in one place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from adapters.api_keys import HmacApiKeys
from adapters.keyring import EmailHash, Keyring
from adapters.live_directory import LiveDirectory
from adapters.tokens import AccessTokens, SignedSessionTokens
from api.auth import Authenticator
from commands.change_profile import ChangeProfileHandler
from commands.issue_key import IssueKeyHandler
from commands.log_in import LogInHandler
from commands.log_out import LogOutHandler
from commands.refresh_session import RefreshSessionHandler
from commands.register import RegisterHandler
from commands.revoke_key import RevokeKeyHandler
from commands.session_opener import SessionOpener
from commands.store import EventStore
from domain.ids import AccountId, KeyId, UserId
from domain.ports import Passwords, Vault
from domain.user import Role
from projections.paging import Page
from projections.positions import Positions


class UserRow(msgspec.Struct, frozen=True, kw_only=True):
    """Personal data as the log has it: sealed."""

    user_id: UserId
    account_id: AccountId
    email_sealed: str
    name_sealed: str
    role: Role
    registered_at: datetime


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    key_id: KeyId
    name: str
    prefix: str
    last4: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class DirectoryReads(Protocol):
    """The `directory` read model, once it shows the log up to `wanted`. Raises BehindPosition, Unavailable."""

    async def user(self, account_id: AccountId, user_id: UserId, *, wanted: Positions) -> UserRow | None: ...

    async def keys(self, account_id: AccountId, *, cursor: str | None, limit: int, wanted: Positions) -> Page[KeyRow]:
        """Newest first. Raises InvalidInput for a cursor that is not ours."""
        ...


@dataclass(frozen=True, kw_only=True)
class Accounts:
    register: RegisterHandler
    log_in: LogInHandler
    refresh_session: RefreshSessionHandler
    log_out: LogOutHandler
    change_profile: ChangeProfileHandler
    issue_key: IssueKeyHandler
    revoke_key: RevokeKeyHandler
    authenticator: Authenticator
    directory: LiveDirectory
    reads: DirectoryReads
    vault: Vault
    now: Callable[[], datetime]
    new_id: Callable[[], str]


@dataclass(frozen=True, kw_only=True)
class AccountParts:
    """The adapters and figures that the capability is made of. `access` and `refresh_lifetime` come from settings."""

    store: EventStore
    vault: Vault
    passwords: Passwords
    keyring: Keyring
    access: AccessTokens
    refresh_lifetime: timedelta
    directory: LiveDirectory
    reads: DirectoryReads
    now: Callable[[], datetime]
    new_id: Callable[[], str]


def assemble_accounts(parts: AccountParts) -> Accounts:
    tokens = SignedSessionTokens(parts.access, parts.keyring.refresh_tokens)
    api_keys = HmacApiKeys(parts.keyring.api_keys)
    email_hash = EmailHash(parts.keyring.emails)
    opener = SessionOpener(tokens, parts.new_id, parts.refresh_lifetime)
    return Accounts(
        register=RegisterHandler(
            store=parts.store,
            vault=parts.vault,
            passwords=parts.passwords,
            opener=opener,
            email_hash=email_hash,
            new_id=parts.new_id,
        ),
        log_in=LogInHandler(
            store=parts.store, vault=parts.vault, passwords=parts.passwords, opener=opener, email_hash=email_hash
        ),
        refresh_session=RefreshSessionHandler(store=parts.store, tokens=tokens, lifetime=parts.refresh_lifetime),
        log_out=LogOutHandler(store=parts.store),
        change_profile=ChangeProfileHandler(store=parts.store, vault=parts.vault),
        issue_key=IssueKeyHandler(store=parts.store, api_keys=api_keys, new_id=parts.new_id),
        revoke_key=RevokeKeyHandler(store=parts.store),
        authenticator=Authenticator(parts.directory, api_keys, parts.access),
        directory=parts.directory,
        reads=parts.reads,
        vault=parts.vault,
        now=parts.now,
        new_id=parts.new_id,
    )


def header_bytes(scope: Mapping[str, object]) -> dict[bytes, bytes]:
    """The headers of an ASGI scope, the last of each name."""
    return dict(scope["headers"])  # type: ignore[call-overload]
