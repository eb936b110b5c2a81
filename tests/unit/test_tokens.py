"""Access and refresh tokens: what is in them, and what is not accepted."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from adapters.tokens import AUDIENCE, ISSUER, TOKENS_KEPT, AccessTokens, SignedSessionTokens, WeakSecret, kid_of
from domain.errors import InvalidToken
from domain.ids import AccountId, SessionId, UserId
from domain.session import Session, SessionRef

SECRET = "s" * 32
REF = SessionRef(UserId("u1"), AccountId("a1"), SessionId("s1"))
TOKENS = AccessTokens(SECRET, ttl_s=900)


def now() -> datetime:
    """When it is called: other tests may have run for minutes since this module was read."""
    return datetime.now(UTC).replace(microsecond=0)


def forged(*, key: str = SECRET, algorithm: str = "HS256", header: dict[str, Any] | None = None, **changes: Any) -> str:
    payload = jwt.decode(TOKENS.issue(REF, now()), options={"verify_signature": False}) | changes
    payload = {name: value for name, value in payload.items() if value is not None}
    headers = {"typ": "at+jwt", "kid": kid_of(SECRET.encode()), **(header or {})}
    return jwt.encode(payload, key, algorithm, headers=headers)


def test_a_token_says_who_for_what_and_until_when() -> None:
    token = TOKENS.issue(REF, now())

    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "at+jwt", "kid": kid_of(SECRET.encode())}
    payload = jwt.decode(token, SECRET, ["HS256"], audience=AUDIENCE, issuer=ISSUER)
    assert (payload["sub"], payload["acct"], payload["sid"]) == ("u1", "a1", "s1")
    assert payload["exp"] - payload["iat"] == 900
    assert TOKENS.read(token).session_id == "s1"


def test_two_tokens_are_never_the_same() -> None:
    assert TOKENS.issue(REF, now()) != TOKENS.issue(REF, now())


BAD = {
    "another secret": forged(key="t" * 32),
    "another algorithm": forged(key="s" * 64, algorithm="HS512"),
    "no signature": forged(key="", algorithm="none"),
    "unknown kid": forged(header={"kid": "0000"}),
    "a kid that is no text": forged().replace("ey", "e", 1),
    "another type": forged(header={"typ": "JWT"}),
    "another audience": forged(aud="someone"),
    "another issuer": forged(iss="someone"),
    "no session": forged(sid=None),
    "no expiry": forged(exp=None),
    "not a token": "abc",
    "empty": "",
    "much too long": "x" * 10_000,
}


@pytest.mark.parametrize("token", BAD.values(), ids=list(BAD))
def test_what_we_did_not_sign_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken, match="not one of ours"):
        TOKENS.read(token)


def test_an_expired_token_says_so_and_is_still_good_for_logging_out() -> None:
    token = TOKENS.issue(REF, now() - timedelta(hours=1))

    with pytest.raises(InvalidToken, match="expired"):
        TOKENS.read(token)
    assert TOKENS.read(token, even_expired=True).session_id == "s1"


def test_a_token_that_was_read_before_expires_all_the_same() -> None:
    token = TOKENS.issue(REF, now())
    expired = TOKENS.issue(REF, now() - timedelta(hours=1))

    assert TOKENS.read(token) is TOKENS.read(token)
    TOKENS.read(expired, even_expired=True)
    with pytest.raises(InvalidToken, match="expired"):
        TOKENS.read(expired)


def test_tokens_that_were_read_are_not_kept_without_end() -> None:
    tokens = AccessTokens(SECRET, ttl_s=900)
    for _ in range(5):
        tokens.read(tokens.issue(REF, now()))

    assert len(tokens._verified) == 5 <= TOKENS_KEPT


def test_a_token_of_the_future_is_refused() -> None:
    with pytest.raises(InvalidToken, match="not valid yet"):
        TOKENS.read(TOKENS.issue(REF, now() + timedelta(minutes=1)))


def test_previous_secrets_verify_and_sign_no_more() -> None:
    rotated = AccessTokens("n" * 32, ttl_s=900, previous=[SECRET])

    assert rotated.read(TOKENS.issue(REF, now())).user_id == "u1"
    with pytest.raises(InvalidToken):
        TOKENS.read(rotated.issue(REF, now()))


@pytest.mark.parametrize("previous", [[], ["short"]])
def test_a_short_secret_is_refused(previous: list[str]) -> None:
    with pytest.raises(WeakSecret):
        AccessTokens("s" * 32 if previous else "short", ttl_s=900, previous=previous)


SESSION = Session("salt", now() + timedelta(days=30))
SESSION_TOKENS = SignedSessionTokens(TOKENS, b"pepper")


def test_a_refresh_token_names_its_session_and_is_recomputed() -> None:
    token = SESSION_TOKENS.issue(REF, SESSION, now()).refresh_token

    assert token == SESSION_TOKENS.issue(REF, SESSION, now()).refresh_token
    assert SESSION_TOKENS.read_refresh(token) == REF
    assert SESSION_TOKENS.is_genuine(token, SESSION)
    assert not SESSION_TOKENS.is_genuine(token, Session("other salt", SESSION.expires_at))
    assert not SignedSessionTokens(TOKENS, b"other pepper").is_genuine(token, SESSION)


def test_a_refresh_token_for_another_generation_is_not_genuine() -> None:
    token = SESSION_TOKENS.issue(REF, SESSION, now()).refresh_token
    mac = token.rpartition(".")[2]
    later = base64.urlsafe_b64encode(b"u1.s1.a1.1").rstrip(b"=").decode()

    assert SESSION_TOKENS.read_refresh(f"agg_rt_{later}.{mac}").generation == 1
    assert not SESSION_TOKENS.is_genuine(f"agg_rt_{later}.{mac}", SESSION)


@pytest.mark.parametrize("text", ["u.*.a.0", "u.>.a.0", "u.s.a", "u.s.a.x", "u.s.a.0.0", "u. .a.0", "..a.0"])
def test_a_refresh_token_can_name_nothing_but_ids(text: str) -> None:
    body = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    with pytest.raises(InvalidToken):
        SESSION_TOKENS.read_refresh(f"agg_rt_{body}.mac")
