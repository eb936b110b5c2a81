"""The directory in memory: whatever is told last counts, told once or ten times."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from adapters.in_memory import InMemoryEventLog
from adapters.jetstream_reads import StoredMessage
from adapters.live_directory import FILTERS, LiveDirectory
from adapters.log_reader import CaughtUp
from commands.store import Cause, EventStore
from domain.catalog import MODEL, ModelListed, list_model, model_address
from domain.errors import Unavailable
from domain.ids import AccountId, CommandId, KeyId, SessionId, UserId
from domain.key import KEY, KeyIssued, KeyRevoked, issue, revoke
from domain.session import SESSIONS, SessionClosed, SessionOpened, close_session, open_session
from tests.accounts import Beating, FollowedLog
from tests.declaring import Operator, deployment, limits, names_in, route

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT, USER_ID, KEY_ID = AccountId("a1"), UserId("u1"), KeyId("k1")
KEY_ADDRESS = KEY.at(KEY_ID, owner=ACCOUNT)
SESSIONS_ADDRESS = SESSIONS.at(USER_ID, owner=ACCOUNT)
HASH = "ab" * 32


class Told(InMemoryEventLog):
    """Its events as a tail tells them."""

    def messages_of(self, subject: str) -> list[tuple[str, bytes]]:
        return [(subject, event.raw) for event in self._subjects[subject]]


def cause(ident: str) -> Cause:
    return Cause(CommandId(ident), NOW, "test")


async def key_history() -> list[tuple[str, bytes]]:
    log = Told()
    store = EventStore(log, "test")
    issued = KeyIssued(
        key_id=KEY_ID,
        account_id=ACCOUNT,
        at=NOW,
        user_id=USER_ID,
        name="n",
        prefix="p",
        last4="l",
        secret_hash=HASH,
    )
    revoked = KeyRevoked(key_id=KEY_ID, account_id=ACCOUNT, at=NOW)
    await store.change(KEY, KEY_ADDRESS, lambda key: issue(key, issued), cause("c1"))
    await store.change(KEY, KEY_ADDRESS, lambda key: revoke(key, revoked), cause("c2"))
    return log.messages_of(KEY_ADDRESS.subject)


async def session_history() -> list[tuple[str, bytes]]:
    log = Told()
    store = EventStore(log, "test")
    for number in range(3):
        opened = SessionOpened(
            user_id=USER_ID,
            account_id=ACCOUNT,
            session_id=SessionId(f"s{number}"),
            at=NOW,
            salt="",
            expires_at=NOW + timedelta(days=1),
        )
        await store.change(
            SESSIONS, SESSIONS_ADDRESS, lambda state, opened=opened: open_session(state, opened), cause(f"o{number}")
        )
    closed = SessionClosed(user_id=USER_ID, account_id=ACCOUNT, session_id=SessionId("s1"), at=NOW, reason="logout")
    await store.change(SESSIONS, SESSIONS_ADDRESS, lambda state: close_session(state, closed), cause("c"))
    return log.messages_of(SESSIONS_ADDRESS.subject)


async def test_a_key_is_known_by_its_hash_until_and_after_it_is_revoked() -> None:
    issued, revoked = await key_history()
    directory = LiveDirectory()

    directory.apply(*issued)
    live = directory.key_by_hash(bytes.fromhex(HASH))
    assert live and live.is_live(NOW) and not directory.is_revoked(KEY_ID)

    directory.apply(*revoked)
    dead = directory.key_by_hash(bytes.fromhex(HASH))
    assert dead and not dead.is_live(NOW) and directory.is_revoked(KEY_ID)


async def test_telling_again_and_out_of_order_changes_nothing() -> None:
    history = [*await key_history(), *await session_history()]
    directory = LiveDirectory()
    for message in history:
        directory.apply(*message)

    for message in random.sample(history * 3, k=len(history) * 3):
        directory.apply(*message)

    assert directory.is_revoked(KEY_ID)
    assert [directory.session(SessionId(f"s{number}")) is not None for number in range(3)] == [True, False, True]


async def test_the_last_message_alone_is_enough() -> None:
    directory = LiveDirectory()

    directory.apply(*(await session_history())[-1])

    session = directory.session(SessionId("s2"))
    assert session and (session.user_id, session.account_id) == (USER_ID, ACCOUNT)
    assert session.expires_at_s == (NOW + timedelta(days=1)).timestamp()


async def test_what_cannot_be_read_is_taken_out() -> None:
    issued, revoked = await key_history()
    directory = LiveDirectory()
    directory.apply(*issued)
    broken = msgspec.json.decode(revoked[1])
    broken["data"] = {"after": {"revoked_at": "yesterday"}}

    directory.apply(revoked[0], msgspec.json.encode(broken))

    assert directory.key_by_hash(bytes.fromhex(HASH)) is None
    directory.apply(revoked[0], b"rubbish")
    assert directory.key_by_hash(bytes.fromhex(HASH)) is None


def test_other_kinds_are_ignored() -> None:
    LiveDirectory().apply("evt.7.ledger.a1", b"whatever it is")


def test_people_their_keys_and_what_is_declared_in_the_catalogue_are_followed() -> None:
    kinds = ("key", "session", "user", "model", "deployment", "route", "limits")

    assert set(FILTERS) == {f"evt.*.{kind}.*" for kind in kinds}


async def test_models_are_listed_by_name() -> None:
    log = Told()
    listed = ModelListed(
        model="gpt-4o",
        at=NOW,
        provider="openai",
        upstream_model="gpt-4o",
        context_length=1,
        max_output_tokens=1,
        owned_by="openai",
    )
    address = model_address("gpt-4o")
    await EventStore(log, "test").change(MODEL, address, lambda model: list_model(model, listed), cause("c"))
    directory = LiveDirectory()

    for message in log.messages_of(address.subject):
        directory.apply(*message)

    assert list(directory.models()) == ["gpt-4o"]
    assert directory.model("gpt-4o") is directory.models()["gpt-4o"]
    assert directory.model("gpt-5") is None


async def declared_history() -> list[tuple[str, bytes]]:
    """A deployment, a route and limits are set; then limits are changed, and route and deployment are gone."""
    log = FollowedLog()
    told: list[tuple[str, bytes]] = []

    def hear(subject: str, raw: bytes) -> None:
        told.append((subject, raw))

    log.followers.append(hear)
    operator = Operator(log)
    await operator.apply(deployment("eu"), route("eu", "eu"), limits("model", "gpt-4o"))
    await operator.apply(limits("model", "gpt-4o", requests_per_day=9))
    return told


async def test_deployments_routes_and_limits_are_known_until_they_are_removed() -> None:
    directory = LiveDirectory()
    *history, route_removed, deployment_removed, applied = await declared_history()

    for message in history:
        directory.apply(*message)
    assert names_in(directory) == {"deployments": {"eu"}, "routes": {"eu"}, "limits": {"model:gpt-4o"}}
    assert directory.routes()["eu"].route.deployments == ("eu",)
    assert [each.requests_per_day for each in directory.limits()] == [9]

    for message in (route_removed, deployment_removed, applied):
        directory.apply(*message)
    assert names_in(directory) == {"deployments": set(), "routes": set(), "limits": {"model:gpt-4o"}}


async def test_limits_that_cannot_be_read_are_not_taken_for_none() -> None:
    directory = LiveDirectory()
    first, second = [message for message in await declared_history() if ".limits." in message[0]]
    directory.apply(*first)
    broken = msgspec.json.decode(second[1])
    broken["data"] = {"after": {"told": {"requests_per_day": "many"}}}

    directory.apply(second[0], msgspec.json.encode(broken))

    with pytest.raises(Unavailable, match="limits"):
        directory.limits()
    broken["sequence"] += 1
    broken["data"] = {"after": {"told": None}}
    directory.apply(second[0], msgspec.json.encode(broken))
    assert directory.limits() == ()


class TailOf(Beating):
    def __init__(self, *told: tuple[str, bytes] | None) -> None:
        self._told = told

    async def messages(self) -> AsyncIterator[StoredMessage | CaughtUp]:
        for position, message in enumerate(self._told, 1):
            yield CaughtUp(position) if message is None else StoredMessage(position, *message, NOW)


async def test_it_is_fresh_once_the_tail_has_caught_up_and_while_it_is_heard_of() -> None:
    directory = LiveDirectory()
    await directory.follow(TailOf(*await key_history()))
    assert not directory.caught_up and not directory.is_fresh(10)

    tail = TailOf(*await key_history(), None)
    await directory.follow(tail)

    assert directory.caught_up and directory.is_fresh(10)
    tail.stopped = True
    assert directory.caught_up and not directory.is_fresh(10)


async def test_a_change_is_waited_for_up_to_a_time() -> None:
    directory = LiveDirectory()
    issued, _ = await key_history()

    def is_known() -> bool:
        return directory.key_by_hash(bytes.fromhex(HASH)) is not None

    assert not await directory.until(is_known, 0.01)
    waiting: asyncio.Task[Any] = asyncio.create_task(directory.until(is_known, 5))
    await asyncio.sleep(0)
    directory.apply(*issued)
    assert await waiting
