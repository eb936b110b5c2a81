"""Histories of the log, made by the domain's own decisions, and a reader of the log that plays them back."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from adapters.in_memory import InMemoryEventLog
from bench.synthetic import as_message, batches, request_events
from commands.store import Cause, Change, EventStore
from domain import account, catalog, key, ledger, session, user
from domain.aggregate import Address
from domain.events import Envelope, decode_batch, decode_fact
from domain.ids import AccountId, CommandId, KeyId, LeaseId, SessionId, UserId
from domain.ports import Append, LogMessage, Recorded
from domain.pricing import Rates
from domain.request import RequestEvent
from projections.intake import Intake, Known
from projections.projection import Claim, Event, Projection, Stream

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ACCOUNTS = tuple(AccountId(f"acc_{number}") for number in range(5))


class ListedLog:
    """Streams from lists. `take` gives `chunk` messages at a time; more may be added while it is read."""

    def __init__(self, messages: Iterable[LogMessage] = (), *, chunk: int = 1000) -> None:
        self.messages: dict[str, list[LogMessage]] = {"EVT": [], "REQ": []}
        self.chunk = chunk
        self.opened = 0
        for message in messages:
            self.messages[message.stream].append(message)

    def add(self, stream: Stream, raw: bytes, subject: str = "req.0") -> int:
        kept = self.messages[stream]
        kept.append(LogMessage(stream, len(kept) + 1, subject, NOON + timedelta(seconds=len(kept)), raw))
        return len(kept)

    @asynccontextmanager
    async def open(self, stream: str, after: int) -> AsyncGenerator["ListedFeed"]:
        self.opened += 1
        yield ListedFeed(self, stream, after)

    async def last_position(self, stream: str) -> int:
        return len(self.messages[stream])

    async def time_at(self, stream: str, position: int) -> datetime | None:
        kept = self.messages[stream]
        return kept[position - 1].time if 0 < position <= len(kept) else None


class ListedFeed:
    def __init__(self, log: ListedLog, stream: str, after: int) -> None:
        self._log = log
        self._kept = log.messages[stream]
        self._next = after

    @property
    def waiting(self) -> bool:
        return self._next < len(self._kept)

    async def take(self, timeout_s: float) -> list[LogMessage]:
        await asyncio.sleep(0 if self.waiting else min(timeout_s, 0.01))
        messages = self._kept[self._next : self._next + self._log.chunk]
        self._next += len(messages)
        return [msgspec.structs.replace(message, behind=len(self._kept) - message.position) for message in messages]


def request_messages(count: int, *, batch: int = 16, seed: int = 1) -> list[LogMessage]:
    bodies = batches(request_events(count, accounts=20, seed=seed), batch)
    return [LogMessage("REQ", number, "req.0", NOON, body) for number, body in enumerate(bodies, start=1)]


def request_message(position: int, events: Sequence[RequestEvent], *, source: str = "/w", first: int = 1) -> LogMessage:
    return LogMessage("REQ", position, "req.0", NOON, as_message(events, source, first))


def events_of(projection: Projection[Any], messages: Sequence[LogMessage]) -> list[Any]:
    """What `projection` is given of these messages, read from the start by one owner of everything."""
    claim = Claim(projection.name, "REQ" if messages[0].stream == "REQ" else "EVT", 0, 256, "w")
    return Intake(projection, claim, Known(), {}).read(messages).events


def facts_in(message: LogMessage) -> list[Event]:
    envelopes: list[Envelope] = decode_batch(message.raw)
    return [Event(message, index, envelope, decode_fact(envelope)) for index, envelope in enumerate(envelopes)]


class _Recorder:
    """An event log that also keeps its messages in order."""

    def __init__(self) -> None:
        self._log = InMemoryEventLog()
        self.messages: list[LogMessage] = []

    async def last(self, address: Address) -> Recorded | None:
        return await self._log.last(address)

    async def history(self, address: Address, after: int = 0) -> list[Recorded]:
        return await self._log.history(address, after)

    async def append(self, appends: Sequence[Append]) -> list[int]:
        positions = await self._log.append(appends)
        for append in appends:
            for _, raw in append.events:
                number = len(self.messages) + 1
                at = NOON + timedelta(seconds=number)
                self.messages.append(LogMessage("EVT", number, append.address.subject, at, raw))
        return positions


class Story:
    """Writes facts as commands would; `messages` is the stream."""

    def __init__(self) -> None:
        self._recorder = _Recorder()
        self._store = EventStore(self._recorder, "/tests")
        self._commands = 0

    @property
    def messages(self) -> list[LogMessage]:
        return self._recorder.messages

    async def tell(self, *changes: Change[Any]) -> None:
        self._commands += 1
        await self._store.change_all(changes, Cause(CommandId(f"c{self._commands}"), NOON, "tester"))

    async def grant(self, account_id: AccountId, nanos: int, at: datetime = NOON) -> None:
        fact = ledger.CreditGranted(
            account_id=account_id, at=at, amount_nanos=nanos, source="promotion", reason="welcome"
        )
        await self.tell(_ledger(account_id, lambda state: ledger.grant(state, fact)))

    async def lease(self, account_id: AccountId, lease_id: str, nanos: int) -> None:
        fact = ledger.CreditLeased(
            account_id=account_id,
            at=NOON,
            lease_id=LeaseId(lease_id),
            worker="w",
            amount_nanos=nanos,
            expires_at=NOON + timedelta(minutes=1),
        )
        await self.tell(_ledger(account_id, lambda state: ledger.lease(state, fact)))

    async def charge(self, account_id: AccountId, lease_id: str, to_position: int, nanos: int, at: datetime) -> None:
        def decide(state: ledger.Ledger) -> list[ledger.LedgerEvent]:
            fact = ledger.UsageCharged(
                account_id=account_id,
                at=at,
                from_position=state.settled_to,
                to_position=to_position,
                amount_nanos=nanos,
                by_lease={LeaseId(lease_id): nanos},
                by_model={"m": ledger.ModelUsage(1, nanos)},
            )
            return ledger.charge(state, fact)

        await self.tell(_ledger(account_id, decide))


def _ledger(account_id: AccountId, decide: Callable[[ledger.Ledger], Sequence[ledger.LedgerEvent]]) -> Change[Any]:
    return Change(ledger.LEDGER, ledger.LEDGER.at(account_id), decide)


async def everyday_story() -> list[LogMessage]:
    """Some of everything that `EVT` holds."""
    story = Story()
    await _catalogue(story)
    for number, account_id in enumerate(ACCOUNTS):
        await _register(story, account_id, UserId(f"user_{number}"))
        await story.grant(account_id, 5_000 + number)
        await story.lease(account_id, f"lease_{number}", 1_000)
        await _keys(story, account_id, UserId(f"user_{number}"))
        await _sessions(story, account_id, UserId(f"user_{number}"))
        await story.charge(account_id, f"lease_{number}", 10, 300, NOON + timedelta(hours=1))
        await story.charge(account_id, f"lease_{number}", 20 + number, 200, NOON + timedelta(hours=2))
        await story.grant(account_id, 1, NOON + timedelta(hours=3))
    return story.messages


async def _catalogue(story: Story) -> None:
    for name, limit in (("m", 100), ("n", 200), ("m", 150)):
        listed = catalog.ModelListed(
            model=name,
            at=NOON,
            provider="p",
            upstream_model=name,
            context_length=limit,
            max_output_tokens=10,
            owned_by="o",
        )
        priced = catalog.ModelPriced(
            model=name, at=NOON, price_id=f"{name}-{limit}", valid_from=NOON, rates=Rates(input=limit, output=2)
        )
        address = catalog.model_address(name)
        await story.tell(Change(catalog.MODEL, address, lambda state, fact=listed: catalog.list_model(state, fact)))
        await story.tell(Change(catalog.MODEL, address, lambda state, fact=priced: catalog.price_model(state, fact)))


async def _register(story: Story, account_id: AccountId, user_id: UserId) -> None:
    opened = account.AccountOpened(account_id=account_id, owner=user_id, at=NOON)
    registered = user.UserRegistered(
        user_id=user_id,
        account_id=account_id,
        at=NOON,
        email_sealed="e1",
        name_sealed="n1",
        password_sealed="p1",
        role="member",
    )
    renamed = user.ProfileChanged(user_id=user_id, account_id=account_id, at=NOON, name_sealed="n2")
    address = user.USER.at(user_id, owner=account_id)
    await story.tell(
        Change(account.ACCOUNT, account.ACCOUNT.at(account_id), lambda state: account.open_account(state, opened)),
        Change(user.USER, address, lambda state: user.register(state, registered)),
    )
    await story.tell(Change(user.USER, address, lambda state: user.change_profile(state, renamed)))


async def _keys(story: Story, account_id: AccountId, user_id: UserId) -> None:
    for number in range(3):
        key_id = KeyId(f"key_{account_id}_{number}")
        issued = key.KeyIssued(
            key_id=key_id,
            account_id=account_id,
            at=NOON,
            user_id=user_id,
            name=f"key {number}",
            prefix="agg_live_ab",
            last4="wxyz",
            secret_hash=hashlib.sha256(key_id.encode()).hexdigest(),
        )
        address = key.KEY.at(key_id, owner=account_id)
        await story.tell(Change(key.KEY, address, lambda state, fact=issued: key.issue(state, fact)))
    revoked = key.KeyRevoked(key_id=KeyId(f"key_{account_id}_1"), account_id=account_id, at=NOON)
    address = key.KEY.at(revoked.key_id, owner=account_id)
    await story.tell(Change(key.KEY, address, lambda state: key.revoke(state, revoked)))


async def _sessions(story: Story, account_id: AccountId, user_id: UserId) -> None:
    ids: dict[str, Any] = {"user_id": user_id, "account_id": account_id}
    later = NOON + timedelta(days=1)
    address = session.SESSIONS.at(user_id, owner=account_id)
    for number in range(3):
        opened = session.SessionOpened(
            **ids, session_id=SessionId(f"{user_id}_{number}"), at=NOON, salt="s", expires_at=later
        )
        await story.tell(
            Change(session.SESSIONS, address, lambda state, fact=opened: session.open_session(state, fact))
        )
    first, second = SessionId(f"{user_id}_0"), SessionId(f"{user_id}_1")
    refreshed = session.SessionRefreshed(**ids, session_id=first, at=NOON, generation=1, expires_at=later)
    closed = session.SessionClosed(**ids, session_id=second, at=NOON, reason="logout")
    await story.tell(Change(session.SESSIONS, address, lambda state: session.refresh(state, refreshed)))
    await story.tell(Change(session.SESSIONS, address, lambda state: session.close_session(state, closed)))
