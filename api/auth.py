"""Who is calling: resolved from the headers and the live directory, without I/O.

An API key or an access token comes as `Authorization: Bearer …`; an API key also as `x-api-key`. Refusals say what
is wrong, never what was sent. When the directory is not fresh nobody is let in: a revocation may not have arrived.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from adapters.api_keys import PREFIX, HmacApiKeys, has_shape, is_mistyped
from adapters.live_directory import LiveDirectory
from adapters.tokens import REFRESH_PREFIX, AccessTokens, Claims
from domain.errors import InvalidToken, NotAllowed, NotAuthenticated, SessionEnded, Unavailable
from domain.ids import AccountId, KeyId, SessionId, UserId
from domain.key import Key
from domain.user import Role

FRESH_S = 10.0
NEWS_S = 0.5
"""How long a credential that this process has not heard of is waited for: another worker may just have made it."""
NEWS_WAITERS = 32
"""More than these at once are strangers knocking: they are refused without a wait."""
NEW_TOKEN_S = 10

_PREFIX = PREFIX.encode()


class Caller(msgspec.Struct, frozen=True):
    """`key_id` or `session_id` says how they came in."""

    account_id: AccountId
    user_id: UserId
    key_id: KeyId | None
    session_id: SessionId | None
    role: Role

    @property
    def actor(self) -> str:
        return f"key:{self.key_id}" if self.key_id else f"user:{self.user_id}"

    def require_session(self) -> SessionId:
        """A leaked API key must not make more of itself."""
        if self.session_id is None:
            raise NotAllowed("An API key may not do this; log in and use the access token.")
        return self.session_id

    def require_admin(self) -> None:
        if self.role != "admin":
            raise NotAllowed("Only an administrator may do this.")


class UnknownCredential(NotAuthenticated):
    """Well-formed, and not heard of: perhaps news that is on its way."""


class Authenticator:
    def __init__(self, directory: LiveDirectory, api_keys: HmacApiKeys, access_tokens: AccessTokens) -> None:
        self._directory = directory
        self._digest = api_keys.digest
        self._access_tokens = access_tokens
        self._waiting = 0

    def authenticate(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Raises NotAuthenticated (UnknownCredential when it may be news) and Unavailable."""
        if not self._directory.is_fresh(FRESH_S):
            raise Unavailable("Credentials cannot be checked now; try again shortly.")
        credential = credential_in(headers)
        if credential.startswith(_PREFIX):
            return self._by_key(credential)
        return self._by_token(credential)

    async def admit(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Like `authenticate`, but a credential made elsewhere a moment ago gets the time to become known here."""
        try:
            return self.authenticate(headers)
        except UnknownCredential:
            if self._waiting >= NEWS_WAITERS:
                raise
        self._waiting += 1
        try:
            await self._directory.until(lambda: self._is_known(headers), NEWS_S)
        finally:
            self._waiting -= 1
        return self.authenticate(headers)

    def claims_of(self, headers: Mapping[bytes, bytes]) -> Claims:
        """What the access token says, even when it has expired or its session is over: enough to log out."""
        credential = credential_in(headers)
        if credential.startswith(_PREFIX):
            raise NotAllowed("An API key has no session to end; revoke it at DELETE /api/v1/keys/{id}.")
        return self._access_tokens.read(_text(credential), even_expired=True)

    def _by_key(self, credential: bytes) -> Caller:
        key = self._directory.key_by_hash(self._digest(credential))
        if key is None:
            raise _unknown_key(_text(credential))
        if key.revoked_at is not None or key.expires_at is not None:
            _check_live(key)
        role = self._directory.role(key.user_id) or "member"
        return Caller(key.account_id, key.user_id, key.key_id, None, role)

    def _by_token(self, credential: bytes) -> Caller:
        claims = self._access_tokens.read(_text(credential))
        session = self._directory.session(claims.session_id)
        now = time.time()
        if session is None and now - claims.issued_at <= NEW_TOKEN_S:
            raise UnknownSession
        if session is None or session.expires_at_s <= now or session.user_id != claims.user_id:
            raise SessionEnded
        role = self._directory.role(session.user_id) or "member"
        return Caller(session.account_id, session.user_id, None, claims.session_id, role)

    def _is_known(self, headers: Mapping[bytes, bytes]) -> bool:
        try:
            self.authenticate(headers)
        except UnknownCredential:
            return False
        except (NotAuthenticated, Unavailable):
            return True
        return True


class UnknownSession(SessionEnded, UnknownCredential):
    """A young token whose session is not here: ended at once, or opened elsewhere this instant."""


def credential_in(headers: Mapping[bytes, bytes]) -> bytes:
    """Raises NotAuthenticated when there is none that we could read."""
    authorization = headers.get(b"authorization")
    if authorization is None:
        if api_key := headers.get(b"x-api-key"):
            return api_key.strip()
        raise NotAuthenticated("Send your API key or access token as `Authorization: Bearer …`.")
    scheme, _, credential = authorization.strip().partition(b" ")
    if scheme.lower() != b"bearer" or not credential:
        raise NotAuthenticated("The Authorization header must read `Bearer` and then a key or token.")
    return credential.strip()


def _unknown_key(secret: str) -> NotAuthenticated:
    if not has_shape(secret):
        return NotAuthenticated("This API key is not one of ours: it was cut, or has characters too many.")
    if is_mistyped(secret):
        return NotAuthenticated("This API key has a typo: its checksum does not match.")
    return UnknownCredential("This API key is not known here.")


def _check_live(key: Key) -> None:
    if key.revoked_at is not None:
        raise NotAuthenticated("This API key has been revoked.")
    if not key.is_live(datetime.now(UTC)):
        raise NotAuthenticated("This API key has expired.")


def _text(credential: bytes) -> str:
    if credential.startswith(REFRESH_PREFIX.encode()):
        raise InvalidToken("This is a refresh token; send the access token.")
    try:
        return credential.decode("ascii")
    except UnicodeDecodeError:
        raise NotAuthenticated("The credential has characters that no key or token has.") from None
