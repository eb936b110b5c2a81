"""A person logs in with e-mail and password."""

from collections.abc import Callable

import msgspec

from commands.session_opener import SessionOpener
from commands.store import Cause, EventStore
from domain.claim import CLAIM, Claim, normalise_email
from domain.errors import BadCredentials
from domain.ids import AccountId, UserId
from domain.ports import Passwords, TokenPair, Vault
from domain.session import SESSIONS, SessionOpened, open_session
from domain.user import LONGEST_PASSWORD, USER


class LogIn(msgspec.Struct, frozen=True, kw_only=True):
    email: str
    password: str

    def __repr__(self) -> str:
        return "LogIn(…)"


class LoggedIn(msgspec.Struct, frozen=True, kw_only=True):
    opened: SessionOpened
    tokens: TokenPair
    position: int


class LogInHandler:
    """An unknown e-mail and a wrong password take the same steps to BadCredentials. Raises Busy, Unavailable."""

    def __init__(
        self,
        *,
        store: EventStore,
        vault: Vault,
        passwords: Passwords,
        opener: SessionOpener,
        email_hash: Callable[[str], str],
    ) -> None:
        self._store = store
        self._vault = vault
        self._passwords = passwords
        self._opener = opener
        self._email_hash = email_hash

    async def handle(self, command: LogIn, cause: Cause) -> LoggedIn:
        if len(command.password) > LONGEST_PASSWORD:
            raise BadCredentials
        email_hash = self._email_hash(normalise_email(command.email))
        held = (await self._store.load(CLAIM, CLAIM.at(email_hash))).state
        hashed = await self._password_hash(held, decoy=email_hash[:32])
        matches = await self._passwords.verify(command.password, hashed)
        if not matches or held.user_id is None or held.account_id is None:
            raise BadCredentials
        return await self._open(held.user_id, held.account_id, cause)

    async def _password_hash(self, held: Claim, decoy: str) -> str | None:
        """An e-mail that nobody claimed leads to `decoy`, who has no password, by the same reads."""
        user_id, account_id = held.user_id or decoy, held.account_id or decoy
        found = (await self._store.load(USER, USER.at(user_id, owner=account_id))).state
        return await self._vault.open(user_id, "password", found.password_sealed)

    async def _open(self, user_id: UserId, account_id: AccountId, cause: Cause) -> LoggedIn:
        opened = self._opener.propose(user_id, account_id, cause.at)
        address = SESSIONS.at(user_id, owner=account_id)
        after = await self._store.change(SESSIONS, address, lambda state: open_session(state, opened), cause)
        return LoggedIn(opened=opened, tokens=self._opener.tokens_for(opened, after.state), position=after.position)
