"""The accounts capability over an in-memory log: real handlers, real routes, a live tail, no server."""

import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.testing import AsyncTestClient

from adapters.in_memory import InMemoryEventLog
from adapters.keyring import Keyring
from adapters.live_directory import LiveDirectory
from adapters.passwords import PlainPasswords
from adapters.tokens import AccessTokens
from adapters.vault import EnvelopeVault, InMemoryWrappedKeys
from api.accounts import AccountParts, Accounts, KeyRow, UserRow, assemble_accounts
from api.dependencies import provide_caller, provide_wanted
from api.error_handlers import EXCEPTION_HANDLERS
from api.request_id import add_request_id, new_id
from api.routes.auth import AuthController
from api.routes.keys import KeyController
from api.routes.users import ProfileController
from commands.store import EventStore
from domain.events import decode_envelope, decode_fact
from domain.ids import AccountId, UserId
from domain.key import KeyIssued, KeyRevoked
from domain.ports import Append, Passwords
from domain.user import ProfileChanged, UserRegistered
from projections.paging import Page
from projections.positions import Positions

MASTER_KEY = bytes(range(32))
JWT_SECRET = "a secret of more than thirty-two bytes for tests"


class FollowedLog(InMemoryEventLog):
    """Tells its followers of every event, as a live tail would."""

    def __init__(self) -> None:
        super().__init__()
        self.followers: list[Any] = []
        self.facts: list[Any] = []

    async def append(self, appends: Sequence[Append]) -> list[int]:
        positions = await super().append(appends)
        for append in appends:
            for _, raw in append.events:
                self.facts.append(decode_fact(decode_envelope(raw)))
                for follower in self.followers:
                    follower(append.address.subject, raw)
        return positions


class ReadsOfFacts:
    """The `directory` read model, folded from the facts at each question."""

    def __init__(self, log: FollowedLog) -> None:
        self._log = log

    async def user(self, account_id: AccountId, user_id: UserId, *, wanted: Positions) -> UserRow | None:
        found: dict[str, Any] = {}
        for fact in self._log.facts:
            if isinstance(fact, UserRegistered) and fact.user_id == user_id:
                found |= {"email_sealed": fact.email_sealed, "name_sealed": fact.name_sealed, "role": fact.role}
                found |= {"user_id": user_id, "account_id": fact.account_id, "registered_at": fact.at}
            elif isinstance(fact, ProfileChanged) and fact.user_id == user_id:
                found["name_sealed"] = fact.name_sealed
        return UserRow(**found) if found else None

    async def keys(self, account_id: AccountId, *, cursor: str | None, limit: int, wanted: Positions) -> Page[KeyRow]:
        revoked = {fact.key_id: fact.at for fact in self._log.facts if isinstance(fact, KeyRevoked)}
        rows = [
            KeyRow(
                key_id=fact.key_id,
                name=fact.name,
                prefix=fact.prefix,
                last4=fact.last4,
                created_at=fact.at,
                expires_at=fact.expires_at,
                revoked_at=revoked.get(fact.key_id),
            )
            for fact in reversed(self._log.facts)
            if isinstance(fact, KeyIssued) and fact.account_id == account_id
        ]
        start = int(cursor or 0)
        more = len(rows) > start + limit
        return Page(rows[start : start + limit], str(start + limit) if more else None)


class Beating:
    """A tail that was heard of just now; `stopped` it was not."""

    stopped = False

    @property
    def last_heard(self) -> float:
        return -math.inf if self.stopped else time.monotonic()


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def make_accounts(
    log: FollowedLog, *, clock: Clock | None = None, passwords: Passwords | None = None, tail: Beating | None = None
) -> Accounts:
    """One worker: its own store and directory over the shared log."""
    directory = LiveDirectory()
    directory.rely_on(tail or Beating())
    log.followers.append(directory.apply)
    return assemble_accounts(
        AccountParts(
            store=EventStore(log, "test"),
            vault=EnvelopeVault(InMemoryWrappedKeys(), MASTER_KEY),
            passwords=passwords or PlainPasswords(),
            keyring=Keyring(MASTER_KEY),
            access=AccessTokens(JWT_SECRET, ttl_s=900),
            refresh_lifetime=timedelta(days=30),
            directory=directory,
            reads=ReadsOfFacts(log),
            now=clock or Clock(),
            new_id=new_id,
        )
    )


def make_app(accounts: Accounts) -> Litestar:
    return Litestar(
        [Router("/api/v1", route_handlers=[AuthController, ProfileController, KeyController])],
        dependencies={
            "accounts": Provide(lambda: accounts, sync_to_thread=False),
            "caller": provide_caller,
            "wanted": Provide(provide_wanted, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        before_send=[add_request_id],
        openapi_config=None,
        logging_config=None,
    )


@asynccontextmanager
async def running(
    accounts: Accounts, *, raise_server_exceptions: bool = True
) -> AsyncGenerator[AsyncTestClient[Litestar]]:
    async with AsyncTestClient(make_app(accounts), raise_server_exceptions=raise_server_exceptions) as client:
        yield client
