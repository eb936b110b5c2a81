"""Accounts on the real log: two workers, real hashes, real tails."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from adapters.endpoints import ServiceEndpoints
from adapters.jetstream_event_log import JetStreamEventLog
from adapters.keyring import Keyring
from adapters.live_directory import FILTERS, LiveDirectory
from adapters.log_reader import tail_latest
from adapters.nats_connection import connect_nats
from adapters.passwords import Argon2Passwords
from adapters.tokens import AccessTokens
from adapters.vault import EnvelopeVault, JetStreamWrappedKeys
from api.accounts import AccountParts, Accounts, assemble_accounts
from api.request_id import new_id
from commands.issue_key import IssueKey
from commands.log_in import LogIn
from commands.log_out import LogOut
from commands.refresh_session import RefreshSession
from commands.register import Register, Registered
from commands.store import Cause, EventStore
from domain.errors import EmailTaken, RefreshReused, SessionEnded
from domain.ids import CommandId
from migrations.streams import apply_streams
from tests.accounts import JWT_SECRET, MASTER_KEY, FollowedLog, ReadsOfFacts

REVOKED_WITHIN_S = 2.0
CANCELLED_WITHIN_S = 5.0


@asynccontextmanager
async def worker(nats_url: str) -> AsyncGenerator[Accounts]:
    connection = await connect_nats(nats_url, "test")
    await apply_streams(connection)
    keyring, directory, passwords = Keyring(MASTER_KEY), LiveDirectory(), Argon2Passwords()
    following = asyncio.create_task(directory.follow(tail_latest(connection, "EVT", FILTERS)))
    try:
        assert await directory.until(lambda: directory.caught_up, 10)
        yield assemble_accounts(
            AccountParts(
                store=EventStore(JetStreamEventLog(connection), "test"),
                vault=EnvelopeVault(JetStreamWrappedKeys(connection.jetstream()), keyring.personal_data),
                passwords=passwords,
                keyring=keyring,
                access=AccessTokens(JWT_SECRET, ttl_s=900),
                refresh_lifetime=timedelta(days=30),
                directory=directory,
                reads=ReadsOfFacts(FollowedLog()),
                now=lambda: datetime.now(UTC),
                new_id=new_id,
            )
        )
    finally:
        following.cancel()
        await asyncio.wait([following], timeout=CANCELLED_WITHIN_S)
        passwords.close()
        await connection.close()
        assert following.cancelled(), "the tail swallowed its cancellation"


@pytest.fixture
async def workers(servers: ServiceEndpoints) -> AsyncIterator[tuple[Accounts, Accounts]]:
    async with worker(servers.nats_url) as one, worker(servers.nats_url) as other:
        yield one, other


def cause() -> Cause:
    return Cause(CommandId(new_id()), datetime.now(UTC), "test")


def bearer(credential: str) -> dict[bytes, bytes]:
    return {b"authorization": f"Bearer {credential}".encode()}


@pytest.fixture
def command() -> Register:
    return Register(email=f"{new_id()}@example.com", password="correct horse", name="Ada")


@pytest.fixture
async def ada(workers: tuple[Accounts, Accounts], command: Register) -> Registered:
    return await workers[0].register.handle(command, cause())


async def test_of_registrations_at_once_on_two_workers_one_wins(
    workers: tuple[Accounts, Accounts], command: Register
) -> None:
    answers = await asyncio.gather(
        *(accounts.register.handle(command, cause()) for accounts in workers * 3), return_exceptions=True
    )

    assert sorted(type(answer).__name__ for answer in answers) == ["EmailTaken"] * 5 + ["Registered"]
    with pytest.raises(EmailTaken):
        await workers[1].register.handle(command, cause())


async def test_who_registers_here_may_log_in_and_come_in_there(
    workers: tuple[Accounts, Accounts], command: Register, ada: Registered
) -> None:
    done = await workers[1].log_in.handle(LogIn(email=command.email, password=command.password), cause())

    for tokens in (ada.tokens, done.tokens):
        for accounts in workers:
            caller = await accounts.authenticator.admit(bearer(tokens.access_token))
            assert caller.user_id == ada.profile.user_id


async def test_twenty_refreshes_at_once_have_one_successor_and_reuse_revokes(
    workers: tuple[Accounts, Accounts], ada: Registered
) -> None:
    spent = RefreshSession(refresh_token=ada.tokens.refresh_token)
    answers = await asyncio.gather(*(accounts.refresh_session.handle(spent, cause()) for accounts in workers * 10))

    (successor,) = {answer.tokens.refresh_token for answer in answers}
    assert {answer.ref.generation for answer in answers} == {1}
    await workers[0].refresh_session.handle(RefreshSession(refresh_token=successor), cause())
    with pytest.raises(RefreshReused):
        await workers[1].refresh_session.handle(spent, cause())
    with pytest.raises(SessionEnded):
        await workers[0].refresh_session.handle(RefreshSession(refresh_token=successor), cause())


async def test_a_logout_here_during_refreshes_ends_the_session_there(
    workers: tuple[Accounts, Accounts], ada: Registered
) -> None:
    one, other = workers
    spent = RefreshSession(refresh_token=ada.tokens.refresh_token)
    leaving = LogOut(user_id=ada.profile.user_id, account_id=ada.profile.account_id, session_id=ada.opened.session_id)
    await other.authenticator.admit(bearer(ada.tokens.access_token))

    await asyncio.gather(
        *(other.refresh_session.handle(spent, cause()) for _ in range(5)),
        one.log_out.handle(leaving, cause()),
        return_exceptions=True,
    )

    directory = other.directory
    assert await directory.until(lambda: directory.session(ada.opened.session_id) is None, REVOKED_WITHIN_S)
    with pytest.raises(SessionEnded):
        other.authenticator.authenticate(bearer(ada.tokens.access_token))
    with pytest.raises(SessionEnded):
        await other.refresh_session.handle(spent, cause())


async def test_a_key_made_here_opens_there(workers: tuple[Accounts, Accounts], ada: Registered) -> None:
    made = await workers[0].issue_key.handle(
        IssueKey(account_id=ada.profile.account_id, user_id=ada.profile.user_id, name="laptop"), cause()
    )

    caller = await workers[1].authenticator.admit(bearer(made.secret))

    assert (caller.key_id, caller.account_id) == (made.issued.key_id, ada.profile.account_id)


async def test_a_worker_that_starts_later_knows_everything(servers: ServiceEndpoints, ada: Registered) -> None:
    async with worker(servers.nats_url) as late:
        caller = late.authenticator.authenticate(bearer(ada.tokens.access_token))

    assert caller.session_id == ada.opened.session_id
