"""A question is embedded on its asker's account, as a request of its own, and never for longer than a moment."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from adapters.cache_guard import FAILURES_TO_OPEN
from api.auth import Caller
from api.question_embedding import MOST_AT_ONCE, QuestionEmbedding
from api.rate_limits import RateLimits
from api.similar_answers import Embedding
from api.telemetry import RequestTelemetry
from commands.holds import Holds
from commands.route_plan import Bounds, Candidate, Resolved, RouteAsk, RoutePlan
from commands.store import EventStore
from domain.catalog import Model
from domain.declared_limits import LimitsSet
from domain.deployment import Route
from domain.errors import ModelNotFound, ProviderRefused, ProviderUnreachable, Unavailable
from domain.ids import KeyId, RequestId, UserId
from domain.limits import Demand, Rule, Verdict
from domain.pricing import Price, Rates
from domain.request import RequestAdmitted, RequestCompleted, RequestEvent, RequestFailed
from domain.upstream import Endpoint
from tests.ai_route import Scripted
from tests.answering import House, Upstream, reply, used
from tests.caching import Outcomes, until
from tests.money import ACCOUNT, AT, counter, give_credit

LISTED = Model("embed", "sim", "embed-1", 8_000, 0, kind="embedding")
PRICE = Price("p2", AT, AT, Rates(input=1_000_000))
ANSWER = msgspec.structs.replace(reply(used(7, 0), chars=0), body=b'{"data":[{"embedding":[0.6,0.8]}]}')
CALLER = Caller(ACCOUNT, UserId("u"), KeyId("k"), None, "member")
SILENCE_S = 0.01
"""Only for embeddings that never come: nothing that does is held against it."""
PATIENT_S = 20.0


class Book:
    """Knows one model, perhaps without a price."""

    def __init__(self, price: Price | None) -> None:
        self.price = price

    def resolve(self, name: str, endpoint: Endpoint, at: datetime) -> Resolved:
        if name != LISTED.model:
            raise ModelNotFound(name)
        alone = Candidate("", LISTED, self.price, "sim", LISTED.upstream_model, "sim")
        return Resolved(name, Route(name=name, deployments=()), True, (alone,))

    def plan(self, resolved: Resolved, ask: RouteAsk, bounds: Bounds | None = None) -> RoutePlan:
        return RoutePlan(ask=ask, trail=(), candidates=resolved.candidates, ceilings=bounds.ceilings if bounds else {})


class Limiter:
    """Notes what it is asked, and refuses when told to."""

    def __init__(self) -> None:
        self.refuses = False
        self.held: dict[RequestId, tuple[Sequence[Rule], Demand]] = {}
        self.ended: dict[RequestId, tuple[int, int]] = {}

    async def admit(self, rules: Sequence[Rule], demand: Demand) -> Verdict:
        self.held[demand.request_id] = (rules, demand)
        return Verdict(allowed=not self.refuses, binding=rules[0])

    def finish(self, rules: Sequence[Rule], request_id: RequestId, tokens: int, nanos: int) -> None:
        self.ended[request_id] = (tokens, nanos)

    async def touch(self, rules: Sequence[Rule], request_id: RequestId) -> None: ...


class Worker:
    """One process with a provider of embeddings."""

    def __init__(
        self, *script: Any, price: Price | None = PRICE, limits: Sequence[LimitsSet] = (), wait_s: float = PATIENT_S
    ) -> None:
        self.provider = (
            Scripted(*script) if any(isinstance(step, asyncio.Event) for step in script) else Upstream(*script)
        )
        self.house = House(self.provider)
        self.limiter, self.outcomes, self.registry = Limiter(), Outcomes(), CollectorRegistry()
        ids = counter("req")
        self.embedding = QuestionEmbedding(
            cast(Any, Book(price)),
            self.house.handler,
            RateLimits(Holds(self.limiter, lambda: 0.0), lambda: limits, 0),
            RequestTelemetry(self.registry),
            lambda: RequestId(ids()),
            self.house.clock,
            self.outcomes,
            wait_s,
        )

    async def embed(self, text: str = "Tell me.", model: str = "embed") -> Embedding | None:
        await give_credit(EventStore(self.house.log, "/tests"), 10**9)
        return await self.embedding.embed(text, model, CALLER)

    @property
    def events(self) -> list[RequestEvent]:
        return self.house.requests.events


async def test_a_question_is_embedded_as_a_request_of_its_own_that_is_charged_to_who_asks() -> None:
    worker = Worker(ANSWER)
    embedding = await worker.embed()
    admitted, completed = worker.events

    assert embedding == Embedding("embed", [0.6, 0.8])
    assert isinstance(admitted, RequestAdmitted) and isinstance(completed, RequestCompleted)
    assert admitted.request_id == completed.request_id == "req-1"
    assert (admitted.account_id, admitted.key_id, admitted.user_id) == (ACCOUNT, CALLER.key_id, CALLER.user_id)
    assert (admitted.endpoint, admitted.model, completed.price_id) == ("embeddings", "embed", "p2")
    assert (completed.tokens.input, completed.cost_nanos) == (7, 7)
    assert worker.house.reserved == 0
    counted = {"model": "embed", "provider": "sim", "outcome": "completed"}
    assert worker.registry.get_sample_value("agg_requests_total", counted) == 1


async def test_only_what_it_costs_is_held_against_limits() -> None:
    everything = LimitsSet(
        scope="account",
        subject="*",
        at=AT,
        requests_per_minute=1,
        tokens_per_day=1,
        concurrent=1,
        spend_per_day_nanos=9,
    )
    worker = Worker(ANSWER, limits=[everything])
    await worker.embed()
    ((rules, demand),) = worker.limiter.held.values()

    assert {(rule.kind, rule.limit) for rule in rules} == {("spend", 9)}
    assert demand.nanos >= 7
    assert worker.limiter.ended == {RequestId("req-1"): (7, 7)}


async def test_without_a_limit_on_spend_no_limit_is_asked() -> None:
    worker = Worker(ANSWER, limits=[LimitsSet(scope="account", subject="*", at=AT, requests_per_minute=0)])

    assert await worker.embed() is not None
    assert worker.limiter.held == {}


async def test_what_must_not_be_spent_is_not() -> None:
    worker = Worker(ANSWER, limits=[LimitsSet(scope="account", subject="*", at=AT, spend_per_day_nanos=0)])
    worker.limiter.refuses = True

    assert await worker.embed() is None
    assert (worker.events, worker.outcomes.seen) == ([], {"refused": 1})


async def test_nothing_is_embedded_without_credit() -> None:
    worker = Worker(ANSWER, limits=[LimitsSet(scope="account", subject="*", at=AT, spend_per_day_nanos=9)])

    assert await worker.embedding.embed("Tell me.", "embed", CALLER) is None
    assert (worker.events, worker.outcomes.seen) == ([], {"refused": 1})
    assert worker.limiter.ended == {RequestId("req-1"): (0, 0)}


@pytest.mark.parametrize(("model", "price"), [("unheard-of", PRICE), ("embed", None)])
async def test_nothing_is_asked_of_a_model_that_is_unknown_or_has_no_price(model: str, price: Price | None) -> None:
    worker = Worker(ANSWER, price=price)

    assert await worker.embed(model=model) is None
    assert (worker.events, worker.outcomes.seen) == ([], {"refused": 1})


async def test_a_provider_that_fails_costs_nothing_and_is_left_alone_after_a_while() -> None:
    worker = Worker(ProviderUnreachable("sim", "It is down."))
    for _ in range(FAILURES_TO_OPEN + 3):
        assert await worker.embed() is None

    assert worker.outcomes.seen == {"failed": FAILURES_TO_OPEN, "skipped": 3}
    ends = [event for event in worker.events if isinstance(event, RequestFailed)]
    assert len(worker.events) == 2 * len(ends) == 2 * FAILURES_TO_OPEN
    assert {end.cost_nanos for end in ends} == {0}


async def test_a_provider_that_refuses_single_texts_is_well() -> None:
    worker = Worker(ProviderRefused("sim", "Too long.", status=400))
    for _ in range(FAILURES_TO_OPEN + 1):
        assert await worker.embed() is None

    assert worker.outcomes.seen == {"refused": FAILURES_TO_OPEN + 1}


async def test_a_bug_of_ours_is_nobody_elses_trouble() -> None:
    worker = Worker(ANSWER)
    worker.house.requests.fails = lambda _: ZeroDivisionError()

    assert await worker.embed() is None


async def test_a_log_that_is_away_is_a_failure() -> None:
    worker = Worker(ANSWER)
    worker.house.requests.fails = lambda _: Unavailable("The log is away.")

    assert await worker.embed() is None
    assert worker.outcomes.seen == {"failed": 1}


async def test_an_answer_that_cannot_be_compared_is_of_no_use_though_it_is_charged() -> None:
    worker = Worker(msgspec.structs.replace(ANSWER, body=b'{"data":[{"embedding":[0,0]}]}'))

    assert await worker.embed() is None
    assert worker.house.requests.end.cost_nanos == 7
    assert worker.outcomes.seen == {"useless": 1}


async def test_one_that_takes_too_long_is_not_waited_for_and_is_charged_by_what_is_reported_in_the_end() -> None:
    going_on = asyncio.Event()
    worker = Worker(going_on, ANSWER, wait_s=SILENCE_S)
    async with asyncio.timeout(PATIENT_S):
        assert await worker.embed() is None
    assert [type(event) for event in worker.events] in ([], [RequestAdmitted])
    going_on.set()
    await until(lambda: len(worker.events) == 2)

    assert isinstance(worker.house.requests.end, RequestCompleted)
    assert worker.house.requests.end.cost_nanos == 7
    assert worker.outcomes.seen == {"slow": 1}


async def test_what_still_runs_when_the_process_ends_is_given_up_on_the_log() -> None:
    worker = Worker(asyncio.Event(), ANSWER)
    asking = asyncio.create_task(worker.embed())
    await cast(Scripted, worker.provider).called.wait()
    await worker.embedding.close()
    await asyncio.wait([asking])
    await worker.house.settles()

    assert isinstance(worker.house.requests.end, RequestFailed)
    assert worker.house.requests.end.error_kind == "given_up"
    assert worker.house.reserved == 0


async def test_no_more_than_so_many_are_made_at_once() -> None:
    going_on = asyncio.Event()
    worker = Worker(going_on, ANSWER)
    await give_credit(EventStore(worker.house.log, "/tests"), 10**9)
    some = [asyncio.create_task(worker.embed()) for _ in range(MOST_AT_ONCE)]
    await until(lambda: len(worker.events) == MOST_AT_ONCE)

    assert await worker.embed() is None
    assert worker.outcomes.seen == {"busy": 1}
    going_on.set()
    assert all(await asyncio.gather(*some))
