"""Request events as gateway workers write them: many requests open at once, 64 events a message."""

import random
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from domain.events import Envelope, tag_of
from domain.ids import AccountId, KeyId, LeaseId, RequestId, UserId
from domain.pricing import Tokens
from domain.request import (
    CACHE_HIT,
    RequestAdmitted,
    RequestCached,
    RequestCompleted,
    RequestEvent,
    RequestFailed,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
MODELS = (("gpt-4o", "openai"), ("gpt-4o-mini", "openai"), ("claude-sonnet", "anthropic"), ("gemini", "google"))
USAGE = msgspec.Raw(b'{"prompt_tokens":812,"completion_tokens":164,"total_tokens":976}')
OPEN_AT_ONCE = 500
PER_SECOND = 200
CACHED_SHARE = 0.1


def request_events(count: int, *, accounts: int = 1000, seed: int = 1) -> Iterator[RequestEvent]:
    """`count` events: admissions and, some hundred requests later, their ends. One in fifty fails; of all events one
    in ten is an answer from the cache."""
    rng = random.Random(seed)
    waiting: deque[RequestAdmitted] = deque()
    for number in range(count):
        at = START + timedelta(seconds=number / PER_SECOND)
        if rng.random() < CACHED_SHARE:
            yield _cached(rng, number, accounts, at)
        elif len(waiting) >= OPEN_AT_ONCE or (waiting and rng.random() < 0.5):
            yield _end(rng, waiting.popleft(), at)
        else:
            waiting.append(_admitted(rng, number, accounts, at))
            yield waiting[-1]


def _beginning(rng: random.Random, number: int, accounts: int, at: datetime) -> dict[str, Any]:
    account = rng.randrange(accounts)
    model, provider = rng.choice(MODELS)
    return {
        "request_id": RequestId(f"0199c0de-{number:08x}-7000-8000-{account:012x}"),
        "account_id": AccountId(f"acc_{account:08d}"),
        "at": at,
        "lease_id": LeaseId(f"lease_{account:08d}"),
        "model": model,
        "provider": provider,
        "price_id": f"price_{model}",
        "key_id": KeyId(f"key_{account:08d}_{rng.randrange(2)}"),
        "user_id": UserId(f"user_{account:08d}"),
        "stream": rng.random() < 0.5,
        "endpoint": "chat.completions",
        "upstream_model": model,
    }


def _cached(rng: random.Random, number: int, accounts: int, at: datetime) -> RequestCached:
    told = _beginning(rng, number, accounts, at)
    told["price_id"] = CACHE_HIT
    return RequestCached(**told, cost_nanos=rng.randrange(50_000), saved_nanos=500_000, duration_ms=3)


def _admitted(rng: random.Random, number: int, accounts: int, at: datetime) -> RequestAdmitted:
    return RequestAdmitted(
        **_beginning(rng, number, accounts, at),
        reserved_nanos=9_000_000,
        input_estimate=800,
        input_estimate_nanos=2_000_000,
    )


def _end(rng: random.Random, admitted: RequestAdmitted, at: datetime) -> RequestEvent:
    common: dict[str, Any] = {
        "request_id": admitted.request_id,
        "account_id": admitted.account_id,
        "at": at,
        "lease_id": admitted.lease_id,
        "model": admitted.model,
        "provider": admitted.provider,
        "price_id": admitted.price_id,
        "key_id": admitted.key_id,
        "user_id": admitted.user_id,
        "stream": admitted.stream,
        "upstream_model": admitted.upstream_model,
        "duration_ms": rng.randrange(200, 9000),
    }
    if rng.random() < 0.02:
        return RequestFailed(**common, cost_nanos=0, evidence="none", error_kind="timeout", message="no answer in time")
    tokens = Tokens(input=rng.randrange(100, 900), cached_input=rng.randrange(200), output=rng.randrange(20, 400))
    return RequestCompleted(
        **common,
        cost_nanos=tokens.total * 2500,
        evidence="reported",
        tokens=tokens,
        usage=USAGE,
        first_token_ms=rng.randrange(50, 900),
    )


def batches(events: Iterator[RequestEvent], size: int, sources: int = 4) -> Iterator[bytes]:
    """Message bodies, from some workers in turn."""
    sequences = [0] * sources
    batch: list[Envelope] = []
    writer = 0
    for event in events:
        sequences[writer] += 1
        batch.append(envelope(event, f"/workers/w{writer}", sequences[writer]))
        if len(batch) == size:
            yield msgspec.json.encode(batch)
            batch, writer = [], (writer + 1) % sources
    if batch:
        yield msgspec.json.encode(batch)


def envelope(event: RequestEvent, source: str, sequence: int) -> Envelope:
    return Envelope(
        specversion="1.0",
        id=f"{source}/{sequence}",
        source=source,
        type=tag_of(event),
        subject=f"request/{event.request_id}",
        time=event.at,
        accountid=event.account_id,
        sequence=sequence,
        data=msgspec.Raw(msgspec.json.encode(event)),
    )


def as_message(events: Sequence[RequestEvent], source: str, first: int) -> bytes:
    """One message of these events, numbered from `first`."""
    return msgspec.json.encode([envelope(event, source, first + index) for index, event in enumerate(events)])
