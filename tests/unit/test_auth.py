"""Who is calling, and what a refusal says."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from adapters.tokens import AccessTokens
from api.accounts import Accounts
from api.auth import NEWS_WAITERS, Authenticator, Caller, UnknownCredential
from api.request_id import new_id
from commands.issue_key import IssuedKey, IssueKey
from commands.register import Register, Registered
from commands.revoke_key import RevokeKey
from commands.store import Cause
from domain.errors import InvalidToken, NotAllowed, NotAuthenticated, SessionEnded, Unavailable
from domain.ids import CommandId
from domain.session import SessionRef
from tests.accounts import JWT_SECRET, Beating, Clock, FollowedLog, make_accounts


def now() -> datetime:
    """When it is called: other tests may have run for minutes since this module was read."""
    return datetime.now(UTC)


def cause(at: datetime | None = None) -> Cause:
    return Cause(CommandId(new_id()), at or now(), "test")


@pytest.fixture
def log() -> FollowedLog:
    return FollowedLog()


@pytest.fixture
def accounts(log: FollowedLog) -> Accounts:
    return make_accounts(log)


@pytest.fixture
async def ada(accounts: Accounts) -> Registered:
    command = Register(email="ada@example.com", password="correct horse", name="Ada")
    return await accounts.register.handle(command, cause())


@pytest.fixture
def issue(accounts: Accounts, ada: Registered) -> Callable[..., Awaitable[IssuedKey]]:
    async def issue(at: datetime | None = None, expires_at: datetime | None = None) -> IssuedKey:
        command = IssueKey(
            account_id=ada.profile.account_id, user_id=ada.profile.user_id, name="laptop", expires_at=expires_at
        )
        return await accounts.issue_key.handle(command, cause(at))

    return issue


def bearer(credential: str) -> dict[bytes, bytes]:
    return {b"authorization": f"Bearer {credential}".encode()}


def refusal(accounts: Accounts, headers: dict[bytes, bytes]) -> str:
    with pytest.raises(NotAuthenticated) as refused:
        accounts.authenticator.authenticate(headers)
    return str(refused.value)


async def test_a_key_stands_for_its_account_and_user(
    accounts: Accounts, ada: Registered, issue: Callable[..., Awaitable[IssuedKey]]
) -> None:
    made = await issue()

    expected = Caller(ada.profile.account_id, ada.profile.user_id, made.issued.key_id, None, "member")
    for headers in (
        bearer(made.secret),
        {b"authorization": b"bearer   " + made.secret.encode()},
        {b"x-api-key": made.secret.encode()},
    ):
        assert accounts.authenticator.authenticate(headers) == expected
    with pytest.raises(NotAllowed):
        expected.require_session()


async def test_an_access_token_stands_for_its_session(accounts: Accounts, ada: Registered) -> None:
    caller = accounts.authenticator.authenticate(bearer(ada.tokens.access_token))

    assert (caller.session_id, caller.key_id) == (ada.opened.session_id, None)
    assert caller.account_id == ada.profile.account_id


async def test_refusals_say_what_is_wrong_and_never_what_was_sent(
    accounts: Accounts, issue: Callable[..., Awaitable[IssuedKey]]
) -> None:
    secret = (await issue()).secret
    mistyped = secret[:20] + ("a" if secret[20] != "a" else "b") + secret[21:]

    refusals = {
        "Authorization: Bearer": {},
        "must read `Bearer`": {b"authorization": secret.encode()},
        "was cut": bearer(secret[:-1]),
        "typo": bearer(mistyped),
        "not one of ours": bearer("sk-something-else"),
        "refresh token": bearer("agg_rt_abc.def"),
        "characters that no": {b"authorization": "Bearer agg_live_ö".encode()},
    }
    for part, headers in refusals.items():
        said = refusal(accounts, headers)
        assert part in said
        assert not any(value.decode() in said for value in headers.values())


async def test_a_revoked_and_an_expired_key_are_told_apart(
    accounts: Accounts, ada: Registered, issue: Callable[..., Awaitable[IssuedKey]]
) -> None:
    revoked = await issue()
    past = now() - timedelta(days=2)
    expired = await issue(at=past, expires_at=past + timedelta(days=1))
    command = RevokeKey(account_id=ada.profile.account_id, key_id=revoked.issued.key_id)
    await accounts.revoke_key.handle(command, cause())

    assert "revoked" in refusal(accounts, bearer(revoked.secret))
    assert "expired" in refusal(accounts, bearer(expired.secret))


async def test_a_token_of_a_session_that_is_over_is_refused(accounts: Accounts, ada: Registered) -> None:
    gone = SessionRef(ada.profile.user_id, ada.profile.account_id, ada.opened.session_id)
    old = AccessTokens(JWT_SECRET, ttl_s=86_400).issue(gone, now() - timedelta(hours=1))
    assert accounts.authenticator.authenticate(bearer(old)).session_id == gone.session_id

    elsewhere = make_accounts(FollowedLog())

    with pytest.raises(SessionEnded):
        elsewhere.authenticator.authenticate(bearer(old))


async def test_nobody_is_let_in_on_stale_knowledge(log: FollowedLog) -> None:
    tail = Beating()
    accounts = make_accounts(log, tail=tail)
    tail.stopped = True

    with pytest.raises(Unavailable):
        accounts.authenticator.authenticate({})


async def test_a_credential_made_elsewhere_a_moment_ago_is_waited_for(
    log: FollowedLog, accounts: Accounts, issue: Callable[..., Awaitable[IssuedKey]]
) -> None:
    other = make_accounts(log)
    events: list[tuple[str, bytes]] = []

    def hear_late(subject: str, raw: bytes) -> None:
        events.append((subject, raw))

    log.followers[-1] = hear_late
    made = await issue()

    waiting = asyncio.create_task(other.authenticator.admit(bearer(made.secret)))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    for event in events:
        other.directory.apply(*event)

    assert (await waiting).key_id == made.issued.key_id


async def test_strangers_are_not_waited_for_in_numbers() -> None:
    accounts, other = make_accounts(FollowedLog()), make_accounts(FollowedLog())
    command = Register(email="ada@example.com", password="correct horse", name="Ada")
    token = (await other.register.handle(command, cause())).tokens.access_token

    knocking = [asyncio.create_task(accounts.authenticator.admit(bearer(token))) for _ in range(NEWS_WAITERS)]
    await asyncio.sleep(0)
    with pytest.raises(UnknownCredential):
        await accounts.authenticator.admit(bearer(token))
    assert not any(task.done() for task in knocking)
    answers = await asyncio.gather(*knocking, return_exceptions=True)

    assert all(isinstance(answer, SessionEnded) for answer in answers)


async def test_logging_out_needs_no_live_session_but_our_signature(accounts: Accounts, ada: Registered) -> None:
    authenticator: Authenticator = accounts.authenticator

    assert authenticator.claims_of(bearer(ada.tokens.access_token)).session_id == ada.opened.session_id
    with pytest.raises(InvalidToken):
        authenticator.claims_of(bearer(ada.tokens.access_token[:-2]))
    with pytest.raises(NotAllowed):
        authenticator.claims_of(bearer("agg_live_x"))


async def test_a_clock_that_moves_on_ends_sessions(log: FollowedLog) -> None:
    clock = Clock()
    clock.ahead = timedelta(days=-31)
    accounts = make_accounts(log, clock=clock)
    command = Register(email="eve@example.com", password="correct horse", name="Eve")
    done = await accounts.register.handle(command, cause(clock()))
    ref = SessionRef(done.profile.user_id, done.profile.account_id, done.opened.session_id)
    young = AccessTokens(JWT_SECRET, ttl_s=900).issue(ref, now())

    with pytest.raises(SessionEnded):
        accounts.authenticator.authenticate(bearer(young))
