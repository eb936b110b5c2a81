"""A person registers: the e-mail is claimed, user and account come to be, and the first session opens. All or none."""

from collections.abc import Callable
from typing import Any

import msgspec

from commands.session_opener import SessionOpener
from commands.store import Cause, Change, EventStore
from domain import account, claim, session, user
from domain.account import ACCOUNT, AccountOpened
from domain.claim import CLAIM, EmailClaimed, normalise_email
from domain.errors import EmailTaken
from domain.ids import AccountId, UserId
from domain.ports import Passwords, TokenPair, Vault
from domain.session import SESSIONS, SessionOpened
from domain.user import USER, Profile, Role, UserRegistered, check_password, clean_name


class Register(msgspec.Struct, frozen=True, kw_only=True):
    email: str
    password: str
    name: str
    role: Role = "member"

    def __repr__(self) -> str:
        return "Register(…)"


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    profile: Profile
    opened: SessionOpened
    tokens: TokenPair
    position: int


class RegisterHandler:
    """Raises InvalidInput, EmailTaken, Busy, Unavailable."""

    def __init__(
        self,
        *,
        store: EventStore,
        vault: Vault,
        passwords: Passwords,
        opener: SessionOpener,
        email_hash: Callable[[str], str],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._vault = vault
        self._passwords = passwords
        self._opener = opener
        self._email_hash = email_hash
        self._new_id = new_id

    async def handle(self, command: Register, cause: Cause) -> Registered:
        email, name = normalise_email(command.email), clean_name(command.name)
        check_password(command.password, email)
        email_hash = self._email_hash(email)
        await self._refuse_taken(email_hash)
        profile = Profile(UserId(self._new_id()), AccountId(self._new_id()), email, name, command.role, cause.at)
        opened = self._opener.propose(profile.user_id, profile.account_id, cause.at)
        registered = await self._sealed(profile, await self._passwords.hash(command.password))
        after = await self._store.change_all(_changes(email_hash, registered, opened), cause)
        tokens = self._opener.tokens_for(opened, after[-1].state)
        position = max(versioned.position for versioned in after)
        return Registered(profile=profile, opened=opened, tokens=tokens, position=position)

    async def _refuse_taken(self, email_hash: str) -> None:
        """Before a key is made and a password hashed for nothing. The append decides."""
        held = await self._store.load(CLAIM, CLAIM.at(email_hash))
        if held.state.user_id is not None:
            raise EmailTaken

    async def _sealed(self, profile: Profile, password_hash: str) -> UserRegistered:
        owner = profile.user_id
        return UserRegistered(
            user_id=owner,
            account_id=profile.account_id,
            at=profile.registered_at,
            email_sealed=await self._vault.seal(owner, "email", profile.email),
            name_sealed=await self._vault.seal(owner, "name", profile.name),
            password_sealed=await self._vault.seal(owner, "password", password_hash),
            role=profile.role,
        )


def _changes(email_hash: str, registered: UserRegistered, opened: SessionOpened) -> list[Change[Any]]:
    user_id, account_id, at = registered.user_id, registered.account_id, registered.at
    claimed = EmailClaimed(email_hash=email_hash, user_id=user_id, account_id=account_id, at=at)
    begun = AccountOpened(account_id=account_id, owner=user_id, at=at)
    return [
        Change(CLAIM, CLAIM.at(email_hash), lambda state: claim.claim(state, claimed)),
        Change(USER, USER.at(user_id, owner=account_id), lambda state: user.register(state, registered)),
        Change(ACCOUNT, ACCOUNT.at(account_id), lambda state: account.open_account(state, begun)),
        Change(SESSIONS, SESSIONS.at(user_id, owner=account_id), lambda state: session.open_session(state, opened)),
    ]
