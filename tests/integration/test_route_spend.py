"""What was spent on routes, however the log arrives: the same as adding up request by request."""

import random
from collections import Counter, deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from adapters.endpoints import ServiceEndpoints
from adapters.postgres import PostgresDatabase
from bench.synthetic import batches, request_events
from domain.ids import AccountId, RequestId
from domain.ports import LogMessage
from domain.request import RequestAdmitted, RequestAttempted, RequestCached, RequestEvent, abandoned
from projections.checkpoints import claim_share
from projections.route_spend import ROUTE_SPEND
from tests import money
from tests.histories import NOON, ListedLog, request_message
from tests.integration.test_folding import CutsOff, Died, build, fold_all
from tests.read_models import count, dump, read_models

ROUTES = ("fast", "slow", "")
ONLY = (ROUTE_SPEND,)
SPENT = "SELECT account_id, route, hour, model, provider, deployment, cost_nanos FROM route_spend"


def routed_events(number: int, *, seed: int = 1) -> Iterator[RequestEvent]:
    """Requests to routes and to plain models, many open at once; some end twice, some are answered by a cache."""
    rng = random.Random(seed)
    ended: deque[RequestEvent] = deque(maxlen=20)
    for fact in request_events(number, accounts=5, seed=seed):
        if isinstance(fact, RequestAdmitted):
            yield msgspec.structs.replace(fact, route=rng.choice(ROUTES))
        elif not isinstance(fact, RequestAttempted):
            ended.append(msgspec.structs.replace(fact, deployment=rng.choice(("d1", "d2"))))
            yield ended[-1]
        if ended and rng.random() < 0.1:
            yield rng.choice(ended)
        if rng.random() < 0.1:
            yield cached(f"hit-{seed}-{fact.request_id}", rng.choice(ROUTES), rng.randrange(3), at=fact.at)


def cached(ident: str, route: str, nanos: int, at: datetime = money.AT) -> RequestCached:
    return RequestCached(
        request_id=RequestId(ident),
        account_id=money.ACCOUNT,
        at=at,
        model="m",
        provider="p",
        price_id="cache_hit",
        endpoint="chat.completions",
        cost_nanos=nanos,
        route=route,
    )


def messages_of(events: Iterator[RequestEvent], batch: int = 16) -> list[LogMessage]:
    return [LogMessage("REQ", number, "req.0", NOON, body) for number, body in enumerate(batches(events, batch), 1)]


def added_up(events: Iterator[RequestEvent]) -> tuple[dict[tuple[Any, ...], int], int]:
    """Request by request, as one would by hand; and how many to routes are open."""
    spent: Counter[tuple[Any, ...]] = Counter()
    admitted: dict[str, RequestAdmitted | RequestCached] = {}
    for fact in events:
        if isinstance(fact, RequestAdmitted | RequestCached):
            admitted[fact.request_id] = fact
        if not isinstance(fact, RequestAdmitted | RequestAttempted) and (asked := admitted.pop(fact.request_id, None)):
            hour = asked.at.replace(minute=0, second=0, microsecond=0)
            key = (fact.account_id, asked.route, hour, fact.model, fact.provider, fact.deployment)
            spent[key] += fact.cost_nanos if asked.route else 0
    still_open = sum(bool(asked.route) for asked in admitted.values())
    return {key: nanos for key, nanos in spent.items() if nanos}, still_open


async def read_spent(database: PostgresDatabase) -> dict[tuple[Any, ...], int]:
    return {tuple(row.values())[:-1]: row["cost_nanos"] for row in await database.fetch(SPENT)}


@pytest.mark.parametrize("chunk", [1, 7, 1000])
async def test_it_adds_up_to_what_its_requests_cost_however_the_log_arrives(
    servers: ServiceEndpoints, chunk: int
) -> None:
    async with read_models(servers.database) as database:
        await build(database, ListedLog(messages_of(routed_events(3000)), chunk=chunk), ONLY)

        expected, still_open = added_up(routed_events(3000))
        assert len(expected) > 30 and still_open
        assert await read_spent(database) == expected
        assert await count(database, "open_routed_requests") == still_open


async def test_messages_written_twice_and_crashes_after_a_commit_change_nothing(servers: ServiceEndpoints) -> None:
    messages, doubled = messages_of(routed_events(2000)), ListedLog(chunk=5)
    for message in messages:
        for _ in range(random.Random(message.position).randint(1, 3)):
            doubled.add("REQ", message.raw)
    async with read_models(servers.database) as calm, read_models(servers.database) as troubled:
        await build(calm, ListedLog(messages), ONLY)
        crashes = await crash_through(troubled, doubled)

        assert crashes > 1
        assert await dump(troubled, ONLY) == await dump(calm, ONLY)


async def crash_through(database: PostgresDatabase, log: ListedLog) -> int:
    await build(database, ListedLog(), ONLY)
    crashes = 0
    while True:
        claims = await claim_share(database, "w", [ROUTE_SPEND.name])
        try:
            await fold_all(CutsOff(database), log, ONLY, claims)
        except Died:
            crashes += 1
        else:
            return crashes


async def test_a_request_counts_in_the_hour_of_its_admission_wherever_it_ends(servers: ServiceEndpoints) -> None:
    late = money.AT + timedelta(minutes=59)
    asked = [msgspec.structs.replace(money.admitted(ident, at=late), route="fast") for ident in ("a", "b", "c")]
    end = money.completed("a", 7, account=AccountId("acc"))
    a, b = (msgspec.structs.replace(end, request_id=RequestId(i), at=late + timedelta(hours=2)) for i in "ab")
    c = abandoned(asked[2], late + timedelta(days=2))
    log = ListedLog([request_message(1, [*asked, a]), request_message(2, [b, c, a], first=5)], chunk=1)
    async with read_models(servers.database) as database:
        await build(database, log, ONLY)

        rows = await database.fetch("SELECT hour, sum(cost_nanos)::bigint AS nanos FROM route_spend GROUP BY hour")
        assert [(row["hour"], row["nanos"]) for row in rows] == [(money.AT, 7 + 7 + c.cost_nanos)]
        assert c.cost_nanos > 0
        assert await count(database, "open_routed_requests") == 0


async def test_requests_to_plain_models_and_free_answers_leave_nothing(servers: ServiceEndpoints) -> None:
    plain, free = money.admitted("plain"), msgspec.structs.replace(money.admitted("free"), route="fast")
    log = ListedLog(
        [
            request_message(1, [plain, free, cached("hit", "fast", 0), cached("other", "", 5)]),
            request_message(2, [money.completed("plain", 9), money.completed("free", 0)], first=5),
        ],
        chunk=1,
    )
    async with read_models(servers.database) as database:
        await build(database, log, ONLY)

        assert await dump(database, ONLY) == {"route_spend": [], "open_routed_requests": []}
