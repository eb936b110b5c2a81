"""A spend limit on any name outlives Valkey's memory: the books know what was charged to those who asked for it."""

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from adapters.endpoints import ServiceEndpoints
from adapters.postgres import PostgresDatabase
from adapters.valkey_limiter import ValkeyLimiter
from api.recorded_spend import RecordedSpend
from domain.deployment import Route
from domain.errors import Unavailable
from domain.ids import AccountId
from domain.limits import Scope, SpentSince
from domain.request import RequestEvent
from projections.route_spend import ROUTE_SPEND
from projections.usage import USAGE
from tests import money
from tests.histories import ListedLog, request_message
from tests.integration.test_folding import build
from tests.integration.test_route_spend import cached
from tests.limits import connected, demand, rule, scripts_on
from tests.read_models import read_models

TODAY = money.AT
YESTERDAY = TODAY - timedelta(days=1)
BOTH = (USAGE, ROUTE_SPEND)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def limiter_on(servers: ServiceEndpoints, spent_since: SpentSince) -> AsyncGenerator[tuple[ValkeyLimiter, Redis]]:
    async with connected(servers.redis) as client, scripts_on(servers.redis) as scripts:
        limiter = ValkeyLimiter(scripts, spent_since, worker="w", workers=1, clock_ms=now_ms)
        try:
            yield limiter, client
        finally:
            await limiter.aclose()


@pytest_asyncio.fixture
async def database(servers: ServiceEndpoints) -> AsyncGenerator[PostgresDatabase]:
    async with read_models(servers.database) as opened:
        yield opened


def asked(route: str, cost_nanos: int, account: str = "acc", **answered: Any) -> list[RequestEvent]:
    """A request to `route` ("": to a model) and its end."""
    ident, at = uuid.uuid4().hex, answered.pop("at", TODAY)
    admitted = msgspec.structs.replace(money.admitted(ident, account=AccountId(account), at=at), route=route)
    end = msgspec.structs.replace(money.completed(ident, cost_nanos, account=AccountId(account)), at=at, **answered)
    return [admitted, end]


def log_of(*requests: Sequence[RequestEvent]) -> ListedLog:
    return ListedLog([request_message(1, [event for request in requests for event in request])] if requests else [])


async def declare(database: PostgresDatabase, *routes: Route) -> None:
    for route in routes:
        await database.fetch(
            "INSERT INTO routes (name, deployments, strategy, fallbacks, set_at) VALUES ($1, $2, 'weighted', $3, $4)",
            *(route.name, list(route.deployments), list(route.fallback_models), TODAY),
        )


async def spent(database: PostgresDatabase, log: ListedLog, subject: str, scope: Scope = "model") -> int:
    return await RecordedSpend(database, log)(scope, subject, TODAY)


async def test_what_was_spent_on_a_route_still_counts_when_valkey_has_lost_its_memory(
    servers: ServiceEndpoints, database: PostgresDatabase
) -> None:
    account = uuid.uuid4().hex
    limit, now = rule("spend", "month", 100, f"{account}/fast", scope="model"), datetime.now(UTC)
    log = log_of()
    await build(database, log, BOTH)
    async with limiter_on(servers, RecordedSpend(database, log)) as (limiter, client):
        await limiter.admit([limit], demand(f"{account}/one", nanos=95))
        limiter.finish([limit], demand(f"{account}/one").request_id, 0, 90)
        await limiter.touch([limit], demand(f"{account}/one").request_id)  # comes after it
        events = [*asked("fast", 70, account, at=now, model="sim/echo"), *asked("fast", 20, account, at=now)]
        log.messages["REQ"].append(request_message(1, events))
        await build(database, log, BOTH)
        lost = await client.delete(*[key async for key in client.scan_iter(match=f"*{account}*")])

        dear = await limiter.admit([limit], demand(f"{account}/dear", nanos=11))
        cheap = await limiter.admit([limit], demand(f"{account}/cheap", nanos=10))

    assert lost
    assert (dear.allowed, cheap.allowed) == (False, True)


async def test_a_name_has_spent_what_was_charged_to_those_who_asked_for_it_and_nothing_else(
    database: PostgresDatabase,
) -> None:
    log = log_of(
        asked("fast", 1, model="gpt-4o", provider="openai"),
        asked("slow", 2, model="sim/echo"),
        asked("", 4, model="gpt-4o", provider="openai"),
        asked("fast", 8, model="sim/echo", at=YESTERDAY),
        asked("fast", 16, "another", model="sim/echo"),
        asked("sim/echo", 32, model="sim/echo"),
        asked("sim/echo", 64, model="gpt-4o", provider="openai"),
    )
    await build(database, log, BOTH)

    sums = {
        name: await spent(database, log, f"acc/{name}")
        for name in ("fast", "slow", "gpt-4o", "openai/gpt-4o", "sim/echo", "nothing")
    }

    gpt, echo = 1 + 4 + 64, 2 + 32
    assert sums == {
        "fast": 1,
        "slow": 2,
        "nothing": 0,
        "gpt-4o": gpt,
        "openai/gpt-4o": gpt,
        "sim/echo": echo + 64,
    }


async def test_what_a_cache_answered_is_spent_on_the_route_that_was_asked_for(database: PostgresDatabase) -> None:
    log = log_of([cached("hit", "fast", 3, at=TODAY), cached("earlier", "fast", 5, at=YESTERDAY)])
    await build(database, log, BOTH)

    assert [await spent(database, log, f"acc/{name}") for name in ("fast", "m", "slow")] == [3, 3, 0]


async def test_who_falls_back_to_a_route_spends_there_and_who_only_shares_a_deployment_does_not(
    database: PostgresDatabase,
) -> None:
    await declare(
        database,
        Route(name="last", deployments=("d3", "shared")),
        Route(name="middle", deployments=("d2",), fallback_models=("last",)),
        Route(name="first", deployments=("d1",), fallback_models=("middle",)),
        Route(name="stranger", deployments=("shared",)),
    )
    log = log_of(
        asked("first", 1, deployment="d1"),
        asked("first", 2, deployment="d2"),
        asked("first", 4, deployment="d3"),
        asked("middle", 8, deployment="shared"),
        asked("last", 16, deployment="gone"),
        asked("stranger", 32, deployment="shared"),
    )
    await build(database, log, BOTH)

    sums = [await spent(database, log, f"acc/{name}") for name in ("first", "middle", "last", "stranger")]

    assert sums == [1 + 2 + 4, 2 + 8, 4 + 8 + 16, 32]


async def test_accounts_plans_and_keys_have_spent_what_all_their_requests_cost(database: PostgresDatabase) -> None:
    one_key = {"key_id": "key_1"}
    log = log_of(asked("fast", 1, **one_key), asked("", 2, **one_key), asked("", 4), asked("fast", 8, at=YESTERDAY))
    await build(database, log, BOTH)

    assert await spent(database, log, "acc", "account") == 1 + 2 + 4
    assert await spent(database, log, "acc/default", "plan") == 1 + 2 + 4
    assert await spent(database, log, "key_1", "key") == 1 + 2


@pytest.mark.parametrize("behind", BOTH, ids=lambda projection: projection.name)
async def test_of_a_name_nothing_is_said_while_either_read_model_is_behind(
    database: PostgresDatabase, behind: Any
) -> None:
    log = log_of(asked("fast", 1))
    await build(database, log, [projection for projection in BOTH if projection is not behind])

    with pytest.raises(Unavailable):
        await RecordedSpend(database, log, wait_s=0.0)("model", "acc/fast", TODAY)


@pytest.mark.parametrize(
    ("scope", "subject"), [("account", "acc"), ("model", "acc/fast"), ("plan", "acc/default"), ("key", "k")]
)
@pytest.mark.parametrize("stands_still", [True, False])
async def test_what_an_account_spent_is_not_known_while_its_events_are_parked(
    database: PostgresDatabase, scope: Scope, subject: str, *, stands_still: bool
) -> None:
    """The position moves on without them, and a limit would hold against too little."""
    log = log_of(asked("fast", 7, key_id="k"))
    await build(database, log, BOTH)
    await database.fetch(
        "INSERT INTO keys (key_id, account_id, user_id, name, prefix, last4, created_at, position)"
        " VALUES ('k', 'acc', 'u', 'n', 'p', 'l', $1, 1)",
        TODAY,
    )
    await database.fetch(
        "INSERT INTO parked_events (projection, stream, position, index, account_id, bucket, type, subject, time, raw,"
        " error, is_cause) VALUES ('usage', 'REQ', 1, 0, $1, 0, 't', 's', $2, ''::bytea, 'e', true)",
        "acc" if stands_still else "another",
        TODAY,
    )

    if stands_still:
        with pytest.raises(Unavailable, match="parked"):
            await spent(database, log, subject, scope)
    else:
        assert await spent(database, log, subject, scope) == 7
