"""Access tokens (JWT, signed HS256) and refresh tokens (opaque, a keyed hash of what they name).

A secret is known by its `kid`, so that a new one signs while previous ones still verify.
"""

import base64
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import jwt
import msgspec

from domain.errors import InvalidToken
from domain.ids import AccountId, SessionId, UserId
from domain.ports import TokenPair
from domain.session import Session, SessionRef

ALGORITHM = "HS256"
TYPE = "at+jwt"
ISSUER = "ai-aggregator"
AUDIENCE = "ai-aggregator"
SHORTEST_SECRET = 32
LEEWAY_S = 5
"""How far the clocks of two workers may be apart."""
REFRESH_PREFIX = "agg_rt_"
LONGEST_TOKEN = 2_048
TOKENS_KEPT = 4_096

_REQUIRED = ["aud", "iss", "sub", "sid", "acct", "jti", "iat", "nbf", "exp"]


class WeakSecret(ValueError):
    def __init__(self) -> None:
        super().__init__(f"The secret that signs tokens has at least {SHORTEST_SECRET} bytes.")


class Claims(msgspec.Struct, frozen=True):
    """What a valid access token says. Whether its session is still open is not in it."""

    user_id: UserId
    account_id: AccountId
    session_id: SessionId
    issued_at: int
    expires_at: int


class AccessTokens:
    """`secret` signs; it and `previous` verify. Raises WeakSecret when one is too short."""

    def __init__(self, secret: str, *, ttl_s: int, previous: Sequence[str] = ()) -> None:
        accepted = [text.encode() for text in (secret, *previous)]
        if any(len(key) < SHORTEST_SECRET for key in accepted):
            raise WeakSecret
        self.ttl_s = ttl_s
        self._keys = {kid_of(key): key for key in accepted}
        self._kid, self._key = kid_of(accepted[0]), accepted[0]
        self._jwt = jwt.PyJWT(options={"enforce_minimum_key_length": True})
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    def issue(self, ref: SessionRef, at: datetime) -> str:
        issued = int(at.timestamp())
        payload: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": ref.user_id,
            "acct": ref.account_id,
            "sid": ref.session_id,
            "jti": secrets.token_hex(16),
            "iat": issued,
            "nbf": issued,
            "exp": issued + self.ttl_s,
        }
        return self._jwt.encode(payload, self._key, ALGORITHM, headers={"typ": TYPE, "kid": self._kid})

    def read(self, token: str, *, even_expired: bool = False) -> Claims:
        """Raises InvalidToken, saying what is wrong. A signature is verified once; the same token again is known."""
        known = self._verified.get(token)
        if known is None or known.expires_at <= time.time():
            known = self._verify(token, even_expired)
            self._remember(token, known)
        return known

    def _verify(self, token: str, even_expired: bool) -> Claims:
        try:
            payload = self._jwt.decode(
                token,
                self._key_named_by(token),
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=LEEWAY_S,
                options={"require": _REQUIRED, "verify_exp": not even_expired},
            )
        except jwt.ExpiredSignatureError:
            raise InvalidToken("This access token has expired; refresh it at POST /api/v1/auth/refresh.") from None
        except jwt.ImmatureSignatureError:
            raise InvalidToken("This access token is not valid yet; a clock is off.") from None
        except jwt.InvalidTokenError:
            raise InvalidToken("This access token is not one of ours, or was altered.") from None
        return Claims(payload["sub"], payload["acct"], payload["sid"], payload["iat"], payload["exp"])

    def _remember(self, token: str, claims: Claims) -> None:
        self._verified[token] = claims
        if len(self._verified) > TOKENS_KEPT:
            self._verified.popitem(last=False)

    def _key_named_by(self, token: str) -> bytes:
        if len(token) > LONGEST_TOKEN:
            raise jwt.InvalidTokenError
        header = jwt.get_unverified_header(token)
        key = self._keys.get(header.get("kid", ""))
        if key is None or header.get("typ") != TYPE:
            raise jwt.InvalidTokenError
        return key


class SignedSessionTokens:
    """Supplies `SessionTokens`. Nothing secret is stored: a refresh token is recomputed from the session's salt."""

    def __init__(self, access: AccessTokens, pepper: bytes) -> None:
        self._access = access
        self._pepper = pepper

    def new_salt(self) -> str:
        return secrets.token_urlsafe(16)

    def issue(self, ref: SessionRef, session: Session, at: datetime) -> TokenPair:
        body = _body_of(ref)
        return TokenPair(
            access_token=self._access.issue(ref, at),
            expires_in_s=self._access.ttl_s,
            refresh_token=f"{REFRESH_PREFIX}{body}.{self._mac(body, session.salt)}",
            refresh_expires_in_s=max(0, int((session.expires_at - at).total_seconds())),
        )

    def read_refresh(self, token: str) -> SessionRef:
        body, dot, _ = token.removeprefix(REFRESH_PREFIX).partition(".")
        if not dot or not token.startswith(REFRESH_PREFIX) or len(token) > LONGEST_TOKEN:
            raise InvalidToken("This is not a refresh token; it begins with agg_rt_.")
        try:
            user_id, session_id, account_id, generation = _decoded(body).split(".")
            ref = SessionRef(UserId(user_id), AccountId(account_id), SessionId(session_id), int(generation))
        except ValueError:
            raise InvalidToken("This refresh token was cut or altered.") from None
        if not all(ident.isascii() and ident.isalnum() for ident in (user_id, session_id, account_id)):
            raise InvalidToken("This refresh token was cut or altered.")
        return ref

    def is_genuine(self, token: str, session: Session) -> bool:
        body, _, mac = token.removeprefix(REFRESH_PREFIX).partition(".")
        return hmac.compare_digest(mac.encode(), self._mac(body, session.salt).encode())

    def _mac(self, body: str, salt: str) -> str:
        digest = hmac.digest(self._pepper, f"{REFRESH_PREFIX}{body}.{salt}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def kid_of(secret: bytes) -> str:
    """Names a secret without telling it."""
    return hmac.digest(secret, b"agg kid", "sha256")[:8].hex()


def _body_of(ref: SessionRef) -> str:
    text = f"{ref.user_id}.{ref.session_id}.{ref.account_id}.{ref.generation}"
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _decoded(body: str) -> str:
    """Raises ValueError (of which the decoding errors are kinds)."""
    return base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True).decode()
