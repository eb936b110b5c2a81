"""Route spend: what was charged to requests that asked for a route, per hour of their admission and who answered.

Only an admission says the route, in logs of every age: so this projection keeps the routed requests that are open, in a
table of its own that moves with its rows. An end that repeated the route would spare that, but ends that are in the log
already do not have it, and both ways side by side would have to agree for ever. What a cache answered is admitted and
ended in one, and says its route.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

import msgspec

from domain.ports import Connection
from domain.request import (
    RequestAbandoned,
    RequestAdmitted,
    RequestCached,
    RequestCompleted,
    RequestEnded,
    RequestFailed,
)
from projections.projection import Event, Projection

OPEN = ("request_id", "account_id", "route", "hour")

Spender: TypeAlias = tuple[str, str, datetime]
"""account, route, hour"""
Answerer: TypeAlias = tuple[str, str, str]
"""model, provider, deployment ("" for a cache)"""
Spent: TypeAlias = tuple[str, str, datetime, str, str, str]
"""A spender and an answerer."""


class RouteSpendRows(msgspec.Struct):
    """What was spent; routed requests that did not end here; ends of requests admitted before, to a route or not."""

    spent: dict[Spent, int]
    opened: dict[str, Spender]
    ended: list[tuple[str, str, str, str, int]]


def fold(events: Sequence[Event]) -> RouteSpendRows:
    rows = RouteSpendRows({}, {}, [])
    admitted: dict[str, RequestAdmitted] = {}
    for event in events:
        fact = event.fact
        if type(fact) is RequestAdmitted:
            admitted[fact.request_id] = fact
        elif type(fact) is RequestCached:
            _count(rows, fact, fact)
        elif admission := admitted.pop(fact.request_id, None):
            _count(rows, admission, fact)
        else:
            rows.ended.append((fact.request_id, *_answerer(fact), fact.cost_nanos))
    rows.opened = {ident: _spender(fact) for ident, fact in admitted.items() if fact.route}
    return rows


def _count(rows: RouteSpendRows, admission: RequestAdmitted | RequestCached, end: RequestEnded) -> None:
    if admission.route and end.cost_nanos:
        key = (*_spender(admission), *_answerer(end))
        rows.spent[key] = rows.spent.get(key, 0) + end.cost_nanos


def _spender(admission: RequestAdmitted | RequestCached) -> Spender:
    return admission.account_id, admission.route, admission.at.replace(minute=0, second=0, microsecond=0)


def _answerer(end: RequestEnded) -> Answerer:
    return end.model, end.provider, end.deployment


_WRITE = """
    WITH closed AS (
        DELETE FROM open_routed_requests AS open
        USING unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
            AS ended (request_id, model, provider, deployment, cost_nanos)
        WHERE open.request_id = ended.request_id
        RETURNING open.account_id, open.route, open.hour, model, provider, deployment, cost_nanos
    ), spent AS (
        SELECT * FROM closed WHERE cost_nanos > 0
        UNION ALL
        SELECT * FROM unnest(
            $6::text[], $7::text[], $8::timestamptz[], $9::text[], $10::text[], $11::text[], $12::bigint[])
    )
    INSERT INTO route_spend (account_id, route, hour, model, provider, deployment, cost_nanos)
    SELECT account_id, route, hour, model, provider, deployment, sum(cost_nanos)::bigint
    FROM spent GROUP BY account_id, route, hour, model, provider, deployment
    ON CONFLICT (account_id, route, hour, model, provider, deployment)
    DO UPDATE SET cost_nanos = route_spend.cost_nanos + excluded.cost_nanos"""


async def write(connection: Connection, rows: RouteSpendRows) -> None:
    """What ended is closed before anything is opened."""
    if rows.ended or rows.spent:
        spent = [(*key, nanos) for key, nanos in rows.spent.items()]
        await connection.execute(_WRITE, *_columns(rows.ended, 5), *_columns(spent, 7))
    if rows.opened:
        opened = [(ident, *spender) for ident, spender in rows.opened.items()]
        await connection.copy("open_routed_requests", OPEN, opened)


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> Sequence[Sequence[object]]:
    return list(zip(*rows, strict=True)) or [()] * width


ROUTE_SPEND = Projection(
    name="route_spend",
    streams=("REQ",),
    facts=(RequestAdmitted, RequestCompleted, RequestFailed, RequestAbandoned, RequestCached),
    fold=fold,
    write=write,
    tables=("route_spend", "open_routed_requests"),
)
