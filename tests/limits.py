"""What tests of limits share: rules, demands, and steps that a book and a script can both take."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Literal, TypeAlias

import msgspec
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adapters.endpoints import RedisEndpoint
from adapters.limit_script import SERVER_TIME, Answer, LimitScript
from adapters.valkey_scripts import BatchedScripts
from domain.errors import AggregatorError, Unavailable
from domain.ids import RequestId
from domain.limit_book import NO_SEEDS, LimitBook
from domain.limits import (
    DAY_MS,
    HOLD_MINUTES,
    MINUTE_MS,
    SECOND_MS,
    Demand,
    Kind,
    Rule,
    Scope,
    Unseeded,
    Verdict,
    Window,
)

NOW_MS = 1_772_323_190_500
"""10 s before March 2026."""
PATIENT_S = 5.0
"""For tests that are not about time: a busy machine is not an outage."""


def rule(kind: Kind, window: Window, limit: int, subject: str = "s1", scope: Scope = "key") -> Rule:
    return Rule(scope=scope, subject=subject, kind=kind, window=window, limit=limit)


def demand(ident: str, tokens: int = 0, nanos: int = 0) -> Demand:
    return Demand(RequestId(ident), tokens, nanos)


def decided(answer: Answer | Unseeded) -> Verdict:
    assert isinstance(answer, Answer)
    return answer.verdict


class Books:
    """A `SpentSince`: what the read models would say."""

    def __init__(self, spent: Mapping[str, int] | None = None) -> None:
        self.spent = dict(spent or {})
        self.asked: list[tuple[str, str, datetime]] = []
        self.open = True
        self.before_answer: Callable[[], Awaitable[None]] = partial(asyncio.sleep, 0)

    async def __call__(self, scope: Scope, subject: str, start: datetime) -> int:
        self.asked.append((scope, subject, start))
        await self.before_answer()
        if not self.open:
            raise Unavailable("The read models do not answer.")
        return self.spent.get(subject, 0)


class BookLimiter:
    """A `Limiter` in memory, at the time that a test says. `fails` is raised instead of an answer; while it is `silent`
    what it decides is never heard of."""

    def __init__(self) -> None:
        self.book = LimitBook()
        self.now_ms = NOW_MS
        self.fails: AggregatorError | None = None
        self.silent = False
        self.asked: list[Demand] = []
        self.finished: list[tuple[RequestId, int, int]] = []

    async def admit(self, rules: Sequence[Rule], demand: Demand) -> Verdict:
        self.asked.append(demand)
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        verdict = self.book.admit(rules, demand, self.now_ms)
        if isinstance(verdict, Unseeded):
            verdict = self.book.admit(
                rules, demand, self.now_ms, {one: (0, start_ms) for one, start_ms in verdict.missing}
            )
        assert isinstance(verdict, Verdict)
        if self.silent:
            await asyncio.Event().wait()
        return verdict

    def finish(self, rules: Sequence[Rule], request_id: RequestId, tokens: int, nanos: int) -> None:
        self.finished.append((request_id, tokens, nanos))
        self.book.finish(rules, request_id, tokens, nanos, self.now_ms)

    async def touch(self, rules: Sequence[Rule], request_id: RequestId) -> None:
        self.book.touch(rules, request_id, self.now_ms)

    async def left(self, one: Rule) -> int:
        """Asked by a request that has ended, so that it holds nothing."""
        self.book.finish([], RequestId("asks"), 0, 0, self.now_ms)
        return (await self.admit([one], Demand(RequestId("asks"), 0, 0))).states[0].remaining


@asynccontextmanager
async def connected(where: RedisEndpoint) -> AsyncGenerator[Redis]:
    client = Redis(host=where.host, port=where.port, password=where.password, retry=Retry(NoBackoff(), 0))
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def scripts_on(where: RedisEndpoint, timeout_s: float = PATIENT_S) -> AsyncGenerator[BatchedScripts]:
    async with connected(where) as client:
        scripts = BatchedScripts(client, timeout_s=timeout_s)
        try:
            yield scripts
        finally:
            await scripts.aclose()


async def asked(
    script: LimitScript,
    rules: tuple[Rule, ...],
    demand: Demand,
    seeds: Mapping[Rule, tuple[int, int]] = NO_SEEDS,
    now_ms: int = SERVER_TIME,
) -> Answer | Unseeded:
    return script.answer(rules, await script.admit(rules, demand, seeds, now_ms))


Operation = Literal["admit", "adopt", "finish", "touch"]


class Step(msgspec.Struct, frozen=True):
    """Some time after the last one, of one of a few requests, under some of the rules."""

    operation: Operation
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
    st.integers(5, 15).map(lambda minutes: minutes * MINUTE_MS),
    st.sampled_from([61 * SECOND_MS, HOLD_MINUTES * MINUTE_MS, DAY_MS, 31 * DAY_MS]),
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
OPERATIONS = st.sampled_from(["admit", "admit", "admit", "adopt", "finish", "touch", "touch"])


SOME_MINUTES = st.one_of(st.just(0), st.integers(3, 15).map(lambda minutes: minutes * MINUTE_MS))
"""Steps in which much is put off or given up."""


@st.composite
def step_lists(draw: st.DrawFn, after_ms: st.SearchStrategy[int] = AFTER_MS) -> Steps:
    """Of few requests, mostly under the same rules, so that they meet."""
    usual = tuple(draw(st.lists(st.sampled_from(ALL_RULES), unique=True, min_size=1, max_size=6)))
    sets = st.one_of(st.just(usual), st.just(usual), st.sampled_from(usual).map(lambda one: (one,)))
    step = st.builds(
        Step,
        operation=OPERATIONS,
        after_ms=after_ms,
        rules=sets,
        request=st.integers(0, 3),
        tokens=st.one_of(st.just(0), st.integers(0, 12), st.integers(0, 45)),
        nanos=st.one_of(st.integers(0, 15), st.integers(0, 65)),
        spent=st.integers(0, 30),
    )
    return draw(st.lists(step, min_size=4, max_size=30))
