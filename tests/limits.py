"""What tests of limits share: rules, demands, and steps that a book and a script can both take."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec
from hypothesis import strategies as st
from redis.asyncio import Redis

from adapters.endpoints import RedisEndpoint
from domain.ids import RequestId
from domain.limits import SECOND_MS, Demand, Kind, Rule, Scope, Window

NOW_MS = 1_772_323_190_500
"""10 s before March 2026."""
PATIENT_S = 5.0
"""For tests that are not about time: a busy machine is not an outage."""


def rule(kind: Kind, window: Window, limit: int, subject: str = "s1", scope: Scope = "key") -> Rule:
    return Rule(scope=scope, subject=subject, kind=kind, window=window, limit=limit)


def demand(ident: str, tokens: int = 0, nanos: int = 0) -> Demand:
    return Demand(RequestId(ident), tokens, nanos)


class Books:
    """A `SpentSince`: what the read models would say."""

    def __init__(self, spent: Mapping[str, int] | None = None) -> None:
        self.spent = dict(spent or {})
        self.asked: list[tuple[str, str, datetime]] = []

    async def __call__(self, scope: Scope, subject: str, start: datetime) -> int:
        self.asked.append((scope, subject, start))
        return self.spent.get(subject, 0)


def client_of(where: RedisEndpoint, timeout_s: float | None = None) -> Redis:
    return Redis(host=where.host, port=where.port, password=where.password, socket_timeout=timeout_s)


@asynccontextmanager
async def connected(where: RedisEndpoint) -> AsyncGenerator[Redis]:
    client = client_of(where)
    try:
        yield client
    finally:
        await client.aclose()


class Step(msgspec.Struct, frozen=True):
    """Some time after the last one, of one of a few requests, under some of the rules."""

    operation: Literal["admit", "adopt", "finish", "touch"]
    after_ms: int
    rules: tuple[Rule, ...]
    request: int
    tokens: int
    nanos: int
    spent: int


Steps: TypeAlias = list[Step]

AFTER_MS = st.one_of(
    st.just(0),
    st.integers(1, 3 * SECOND_MS),
    st.integers(1, 90 * SECOND_MS),
    st.sampled_from([60_000, 61_000, 900_000, 960_000, 86_400_000, 31 * 86_400_000]),
)
ALL_RULES = (
    rule("requests", "minute", 4),
    rule("requests", "day", 9),
    rule("tokens", "minute", 40),
    rule("tokens", "day", 70, scope="account"),
    rule("tokens", "month", 200, scope="plan"),
    rule("concurrent", "none", 3, scope="model"),
    rule("spend", "day", 60, scope="account"),
    rule("spend", "month", 150),
)
STEPS = st.lists(
    st.builds(
        Step,
        operation=st.sampled_from(["admit", "admit", "admit", "adopt", "finish", "finish", "touch"]),
        after_ms=AFTER_MS,
        rules=st.lists(st.sampled_from(ALL_RULES), unique=True, max_size=6).map(tuple),
        request=st.integers(0, 5),
        tokens=st.integers(0, 45),
        nanos=st.integers(0, 65),
        spent=st.integers(0, 30),
    ),
    min_size=1,
    max_size=30,
)
