"""The facts of people, sessions and keys as they lie in the log, byte for byte: what was written stays readable."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from domain.account import AccountOpened
from domain.claim import EmailClaimed
from domain.events import FACTS
from domain.ids import AccountId, KeyId, SessionId, UserId
from domain.key import KeyIssued, KeyRevoked
from domain.session import SessionClosed, SessionOpened, SessionRefreshed
from domain.user import ProfileChanged, UserRegistered

AT = datetime(2026, 1, 2, 3, 4, 5, 600_000, UTC)
USER: dict[str, Any] = {"user_id": UserId("u1"), "account_id": AccountId("a1"), "at": AT}
SESSION: dict[str, Any] = {**USER, "session_id": SessionId("s1")}
KEY: dict[str, Any] = {"key_id": KeyId("k1"), "account_id": AccountId("a1"), "at": AT}

_USER = b'"user_id":"u1","account_id":"a1",'
_AT = b'"at":"2026-01-02T03:04:05.600000Z"'

WRITTEN: list[tuple[Any, bytes]] = [
    (
        UserRegistered(**USER, email_sealed="e", name_sealed="n", password_sealed="p", role="member"),
        b'{"type":"user.registered.v1",' + _USER + _AT + b',"email_sealed":"e","name_sealed":"n",'
        b'"password_sealed":"p","role":"member"}',
    ),
    (
        ProfileChanged(**USER, name_sealed="n"),
        b'{"type":"user.profile_changed.v1",' + _USER + _AT + b',"name_sealed":"n"}',
    ),
    (
        SessionOpened(**SESSION, salt="x", expires_at=AT),
        b'{"type":"session.opened.v1",' + _USER + b'"session_id":"s1",' + _AT + b',"salt":"x",'
        b'"expires_at":"2026-01-02T03:04:05.600000Z"}',
    ),
    (
        SessionRefreshed(**SESSION, generation=1, expires_at=AT),
        b'{"type":"session.refreshed.v1",' + _USER + b'"session_id":"s1",' + _AT + b',"generation":1,'
        b'"expires_at":"2026-01-02T03:04:05.600000Z"}',
    ),
    (
        SessionClosed(**SESSION, reason="refresh_reuse"),
        b'{"type":"session.closed.v1",' + _USER + b'"session_id":"s1",' + _AT + b',"reason":"refresh_reuse"}',
    ),
    (
        AccountOpened(account_id=AccountId("a1"), owner=UserId("u1"), at=AT),
        b'{"type":"account.opened.v1","account_id":"a1","owner":"u1",' + _AT + b"}",
    ),
    (
        EmailClaimed(email_hash="h", user_id=UserId("u1"), account_id=AccountId("a1"), at=AT),
        b'{"type":"claim.email_claimed.v1","email_hash":"h",' + _USER + _AT + b"}",
    ),
    (
        KeyIssued(**KEY, user_id=UserId("u1"), name="n", prefix="p", last4="l", secret_hash="h"),
        b'{"type":"key.issued.v1","key_id":"k1","account_id":"a1",' + _AT + b',"user_id":"u1","name":"n",'
        b'"prefix":"p","last4":"l","secret_hash":"h","expires_at":null}',
    ),
    (KeyRevoked(**KEY), b'{"type":"key.revoked.v1","key_id":"k1","account_id":"a1",' + _AT + b"}"),
]


@pytest.mark.parametrize(("fact", "raw"), WRITTEN, ids=[type(fact).__name__ for fact, _ in WRITTEN])
def test_a_fact_is_written_and_read_as_ever(fact: Any, raw: bytes) -> None:
    assert msgspec.json.encode(fact) == raw
    assert msgspec.json.decode(raw, type=type(fact)) == fact


def test_every_fact_of_accounts_is_here() -> None:
    kinds = ("user.", "session.", "account.", "claim.", "key.")

    assert {type(fact) for fact, _ in WRITTEN} == {cls for tag, cls in FACTS.items() if tag.startswith(kinds)}
