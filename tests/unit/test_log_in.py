"""Logging in: what an onlooker could learn from it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.in_memory import InMemoryEventLog
from adapters.keyring import EmailHash
from adapters.passwords import PlainPasswords
from adapters.tokens import AccessTokens, SignedSessionTokens
from adapters.vault import EnvelopeVault, InMemoryWrappedKeys
from api.request_id import new_id
from commands.log_in import LogIn, LogInHandler
from commands.register import Register, RegisterHandler
from commands.session_opener import SessionOpener
from commands.store import Cause, EventStore
from domain.aggregate import Address
from domain.errors import BadCredentials, InvalidInput
from domain.ids import CommandId
from domain.ports import Recorded
from domain.user import check_password
from tests.accounts import JWT_SECRET, MASTER_KEY

STEPS: list[str] = []


class NotedLog(InMemoryEventLog):
    async def last(self, address: Address) -> Recorded | None:
        STEPS.append(f"read {address.kind}")
        return await super().last(address)


class NotedKeys(InMemoryWrappedKeys):
    async def read(self, owner: str) -> bytes | None:
        STEPS.append("read a data key")
        return await super().read(owner)


class NotedPasswords(PlainPasswords):
    async def verify(self, password: str, hashed: str | None) -> bool:
        STEPS.append("hash")
        return await super().verify(password, hashed)


def cause() -> Cause:
    return Cause(CommandId(new_id()), datetime.now(UTC), "test")


@pytest.fixture
async def log_in() -> LogInHandler:
    """Of a worker that has not met Ada yet."""
    log, keys = NotedLog(), NotedKeys()
    tokens = SignedSessionTokens(AccessTokens(JWT_SECRET, ttl_s=900), b"pepper")
    parts: dict[str, Any] = {
        "passwords": NotedPasswords(),
        "opener": SessionOpener(tokens, new_id, timedelta(days=30)),
        "email_hash": EmailHash(b"pepper"),
    }
    vault = EnvelopeVault(keys, MASTER_KEY)
    register = RegisterHandler(store=EventStore(log, "t"), vault=vault, new_id=new_id, **parts)
    await register.handle(Register(email="ada@example.com", password="correct horse", name="Ada"), cause())
    STEPS.clear()
    return LogInHandler(store=EventStore(log, "t"), vault=EnvelopeVault(keys, MASTER_KEY), **parts)


async def test_an_unknown_email_takes_the_same_steps_as_a_wrong_password(log_in: LogInHandler) -> None:
    taken: list[list[str]] = []
    for email in ("ada@example.com", "nobody@example.com"):
        with pytest.raises(BadCredentials):
            await log_in.handle(LogIn(email=email, password="wrong"), cause())
        taken.append(STEPS.copy())
        STEPS.clear()

    assert taken[0] == taken[1] == ["read claim", "read user", "read a data key", "hash"]


async def test_a_password_too_long_to_be_one_is_not_hashed(log_in: LogInHandler) -> None:
    with pytest.raises(BadCredentials):
        await log_in.handle(LogIn(email="ada@example.com", password="x" * 1_000_000), cause())

    assert STEPS == []


def test_a_password_that_looks_like_the_email_is_refused_at_registering() -> None:
    for password in ("ada@example.com", "aaaaaaaa", "ADA@EXAMPLE.COM"):
        with pytest.raises(InvalidInput):
            check_password(password, "ada@example.com")


def test_commands_that_carry_secrets_do_not_print_them() -> None:
    assert "horse" not in repr(LogIn(email="ada@example.com", password="correct horse"))
    assert "horse" not in repr(Register(email="ada@example.com", password="correct horse", name="Ada"))
