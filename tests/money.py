"""What the tests of money share: facts in few words, a clock to turn, and logs that let others come between."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

import msgspec

from adapters.in_memory import InMemoryEventLog
from commands.store import Cause, EventStore
from domain.aggregate import Address
from domain.events import Envelope, tag_of
from domain.ids import AccountId, CommandId, LeaseId, RequestId
from domain.ledger import LEDGER, CreditGranted, Ledger, LedgerEvent, grant
from domain.ports import Append, Recorded
from domain.request import (
    CACHE_HIT,
    NO_LEASE,
    RequestAdmitted,
    RequestAttempted,
    RequestCached,
    RequestCompleted,
    RequestEvent,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT = AccountId("acc")


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.time = AT

    def __call__(self) -> datetime:
        return self.time

    def turn(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def counter(prefix: str) -> Callable[[], str]:
    """Ids that no other counter of another prefix makes."""
    numbers = count(1)
    return lambda: f"{prefix}-{next(numbers)}"


class RacingLog(InMemoryEventLog):
    """Lets every other task run before each read and write, as a network would, and tells its followers."""

    def __init__(self, *followers: Callable[[bytes], None]) -> None:
        super().__init__()
        self.followers = followers
        self.appends = 0

    async def last(self, address: Address) -> Recorded | None:
        await asyncio.sleep(0)
        return await super().last(address)

    async def append(self, appends: Sequence[Append]) -> list[int]:
        await asyncio.sleep(0)
        positions = await super().append(appends)
        self.appends += 1
        for follower in self.followers:
            for append in appends:
                for _, raw in append.events:
                    follower(raw)
        await asyncio.sleep(0)
        return positions


def credit(amount_nanos: int) -> CreditGranted:
    return CreditGranted(account_id=ACCOUNT, at=AT, amount_nanos=amount_nanos, source="manual", reason="test")


async def give_credit(store: EventStore, amount_nanos: int, account_id: AccountId = ACCOUNT) -> None:
    proposed = msgspec.structs.replace(credit(amount_nanos), account_id=account_id)
    cause = Cause(CommandId(f"grant-{account_id}"), AT, actor="test")
    await store.change(LEDGER, LEDGER.at(account_id), lambda ledger: grant(ledger, proposed), cause)


async def ledger_of(log: InMemoryEventLog, account_id: AccountId = ACCOUNT) -> Ledger:
    """As a newcomer reads it."""
    return (await EventStore(log, "/tests").load(LEDGER, LEDGER.at(account_id))).state


async def ledger_events(log: InMemoryEventLog, account_id: AccountId = ACCOUNT) -> list[LedgerEvent]:
    return [
        msgspec.json.decode(recorded.envelope.data, type=LedgerEvent)
        for recorded in await log.history(LEDGER.at(account_id))
    ]


def admitted(
    request: str, lease: str = "l0", account: AccountId = ACCOUNT, at: datetime = AT, estimate_nanos: int = 3
) -> RequestAdmitted:
    return RequestAdmitted(
        request_id=RequestId(request),
        account_id=account,
        at=at,
        lease_id=LeaseId(lease),
        model="m",
        provider="sim",
        price_id="p",
        endpoint="chat.completions",
        upstream_model="m",
        reserved_nanos=100,
        input_estimate=7,
        input_estimate_nanos=estimate_nanos,
    )


def attempted(request: str, number: int, account: AccountId = ACCOUNT) -> RequestAttempted:
    return RequestAttempted(
        request_id=RequestId(request),
        account_id=account,
        at=AT,
        lease_id=LeaseId("l0"),
        model="m",
        provider="sim",
        price_id="p",
        number=number,
        deployment=f"d{number}",
        upstream_model="um",
        error_kind="refused",
        message="Overloaded.",
        upstream_status=529,
        cost_nanos=4,
        duration_ms=12,
    )


def completed(request: str, cost_nanos: int, lease: str = "l0", account: AccountId = ACCOUNT) -> RequestCompleted:
    return RequestCompleted(
        request_id=RequestId(request),
        account_id=account,
        at=AT,
        lease_id=LeaseId(lease),
        model="m",
        provider="sim",
        price_id="p",
        cost_nanos=cost_nanos,
        evidence="reported",
    )


def cached(
    request: str, cost_nanos: int = 0, lease: str = NO_LEASE, account: AccountId = ACCOUNT, saved_nanos: int = 90
) -> RequestCached:
    return RequestCached(
        request_id=RequestId(request),
        account_id=account,
        at=AT,
        lease_id=LeaseId(lease),
        model="m",
        provider="sim",
        price_id=CACHE_HIT,
        cost_nanos=cost_nanos,
        endpoint="chat.completions",
        saved_nanos=saved_nanos,
    )


def batch(source: str, first_sequence: int, *facts: RequestEvent) -> list[Envelope]:
    """What one message of the request log holds: `source`'s events from `first_sequence` on."""
    return [
        Envelope(
            specversion="1.0",
            id=f"{source}/{sequence}",
            source=source,
            type=tag_of(fact),
            subject=f"request/{fact.request_id}",
            time=fact.at,
            accountid=fact.account_id,
            sequence=sequence,
            data=msgspec.Raw(msgspec.json.encode(fact)),
        )
        for sequence, fact in enumerate(facts, first_sequence)
    ]
