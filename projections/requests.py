"""Requests: one row each, from admission to the end that counts, and one for each attempt that did not answer it. What
an earlier answer was enough for was admitted and ended at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from domain.errors import NotFound
from domain.ids import AccountId, RequestId
from domain.ports import Connection, Database
from domain.pricing import Tokens
from domain.request import (
    RequestAbandoned,
    RequestAdmitted,
    RequestAttempted,
    RequestCached,
    RequestCompleted,
    RequestEnded,
    RequestFailed,
)
from projections.paging import Mark, Page, after, checked_limit, page
from projections.projection import Event, Projection

Status = Literal["open", "completed", "failed", "abandoned"]
STATUS: dict[type[Any], Status] = {
    RequestCompleted: "completed",
    RequestCached: "completed",
    RequestFailed: "failed",
    RequestAbandoned: "abandoned",
}
ADMISSION = (
    *("request_id", "account_id", "key_id", "user_id", "lease_id", "endpoint", "model", "provider", "price_id"),
    *("upstream_model", "stream", "admitted_at", "admitted_position", "reserved_nanos", "input_estimate"),
    *("route", "choice", "similarity", "saved_nanos"),
)
ATTEMPT = (
    *("request_id", "number", "account_id", "at", "position", "deployment", "model", "provider", "upstream_model"),
    *("error_kind", "error_message", "upstream_status", "tokens", "cost_nanos", "duration_ms", "evidence"),
)
END = {
    "status": "text",
    "served_model": "text",
    "ended_at": "timestamptz",
    "ended_position": "bigint",
    "cost_nanos": "bigint",
    "evidence": "text",
    "tokens": "jsonb",
    "usage": "json",
    "duration_ms": "bigint",
    "first_token_ms": "bigint",
    "client_gone": "boolean",
    "attempts": "integer",
    "deployment": "text",
    "hedged": "boolean",
    "finish_reason": "text",
    "error_kind": "text",
    "error_message": "text",
    "upstream_status": "integer",
}
ANSWERED = {"model": "text", "provider": "text", "price_id": "text"}
"""What the end says anew."""
NOT_ENDED = ("open", *(None for _ in range(len(END) - 1)))


class RequestRows(msgspec.Struct):
    """Requests admitted here, with their end if it is here too, ends of requests admitted before, and attempts."""

    admitted: dict[str, tuple[object, ...]]
    ended: dict[str, tuple[object, ...]]
    attempts: list[tuple[object, ...]]


def fold(events: Sequence[Event]) -> RequestRows:
    rows = RequestRows({}, {}, [])
    unended: dict[str, tuple[RequestAdmitted, int]] = {}
    for event in events:
        fact = event.fact
        if type(fact) is RequestAdmitted:
            unended[fact.request_id] = fact, event.position
        elif type(fact) is RequestCached:
            rows.admitted[fact.request_id] = _cached(fact, event.position) + _end(fact, event.position)
        elif type(fact) is RequestAttempted:
            rows.attempts.append(_attempt(fact, event.position))
        elif admission := unended.pop(fact.request_id, None):
            rows.admitted[fact.request_id] = _admission(*admission, fact) + _end(fact, event.position)
        else:
            rows.ended[fact.request_id] = _end(fact, event.position) + _answered(fact)
    for ident, (admitted, position) in unended.items():
        rows.admitted[ident] = _admission(admitted, position, admitted) + NOT_ENDED
    return rows


def _answered(fact: RequestAdmitted | RequestEnded) -> tuple[object, ...]:
    return fact.model, fact.provider, fact.price_id


def _admission(fact: RequestAdmitted, position: int, answered_by: RequestAdmitted | RequestEnded) -> tuple[object, ...]:
    """A route's first choice is not always who answers."""
    return (
        *(fact.request_id, fact.account_id, fact.key_id, fact.user_id, fact.lease_id, fact.endpoint),
        *_answered(answered_by),
        *(fact.upstream_model, fact.stream, fact.at, position),
        *(fact.reserved_nanos, fact.input_estimate),
        *((fact.route, fact.choice) if fact.route else (None, None)),
        *(None, None),
    )


def _cached(fact: RequestCached, position: int) -> tuple[object, ...]:
    """Nothing was chosen, and no more than it costs was reserved."""
    return (
        *(fact.request_id, fact.account_id, fact.key_id, fact.user_id, fact.lease_id, fact.endpoint),
        *_answered(fact),
        *(fact.upstream_model, fact.stream, fact.at, position),
        *(fact.cost_nanos, 0),
        *(fact.route or None, None, fact.similarity, fact.saved_nanos),
    )


def _attempt(fact: RequestAttempted, position: int) -> tuple[object, ...]:
    return (
        *(fact.request_id, fact.number, fact.account_id, fact.at, position, fact.deployment, fact.model),
        *(fact.provider, fact.upstream_model, fact.error_kind, fact.message, fact.upstream_status),
        *(fact.tokens, fact.cost_nanos, fact.duration_ms, fact.evidence),
    )


def _end(fact: RequestEnded, position: int) -> tuple[object, ...]:
    return (
        STATUS[type(fact)],
        fact.upstream_model or None,
        fact.at,
        position,
        fact.cost_nanos,
        fact.evidence,
        fact.tokens,
        fact.usage,
        fact.duration_ms,
        fact.first_token_ms,
        fact.client_gone,
        fact.attempts,
        fact.deployment or None,
        fact.hedged,
        *_outcome(fact),
    )


def _outcome(fact: RequestEnded) -> tuple[object, ...]:
    if type(fact) is RequestCompleted or type(fact) is RequestCached:
        return fact.finish_reason, None, None, None
    if type(fact) is RequestFailed:
        return None, fact.error_kind, fact.message, fact.upstream_status
    return None, None, None, None


_WRITTEN = END | ANSWERED
_WRITE_ENDS = f"""
    UPDATE requests SET {", ".join(f"{name} = ended.{name}" for name in _WRITTEN)}
    FROM unnest($1::text[], {", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_WRITTEN.values(), 2))})
        AS ended (request_id, {", ".join(_WRITTEN)})
    WHERE requests.request_id = ended.request_id"""  # noqa: S608  (constants)


async def write(connection: Connection, rows: RequestRows) -> None:
    if rows.admitted:
        await connection.copy("requests", (*ADMISSION, *END), rows.admitted.values())
    if rows.ended:
        await connection.execute(_WRITE_ENDS, list(rows.ended), *zip(*rows.ended.values(), strict=True))
    if rows.attempts:
        await connection.copy("request_attempts", ATTEMPT, rows.attempts)


REQUESTS = Projection(
    name="requests",
    streams=("REQ",),
    facts=(RequestAdmitted, RequestAttempted, RequestCompleted, RequestFailed, RequestAbandoned, RequestCached),
    fold=fold,
    write=write,
    tables=("requests", "request_attempts"),
)


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """`upstream_model` is what was asked of the provider, `served_model` what it said it used. `usage` is its own.

    Of a request to a `route`: `choice` says why who was first (domain.routing.Choice), `deployment` is who was last.
    `attempts` counts calls; `hedged`: two of them ran side by side. None in what was recorded before these were.

    Of an answer from the cache: `saved_nanos` is what it cost when it was made, less what it costs now (None: it is not
    one), and `similarity` how near the question is that it was made for (None: it was the same).
    """

    request_id: str
    account_id: str
    key_id: str | None
    user_id: str | None
    lease_id: str
    endpoint: str
    model: str
    provider: str
    upstream_model: str
    price_id: str
    stream: bool
    status: Status
    admitted_at: datetime
    admitted_position: int
    reserved_nanos: int
    input_estimate: int
    ended_at: datetime | None
    ended_position: int | None
    cost_nanos: int | None
    served_model: str | None
    evidence: str | None
    tokens: Tokens | None
    usage: Any
    duration_ms: int | None
    first_token_ms: int | None
    client_gone: bool | None
    route: str | None
    choice: Any
    similarity: float | None
    saved_nanos: int | None
    attempts: int | None
    deployment: str | None
    hedged: bool | None
    finish_reason: str | None
    error_kind: str | None
    error_message: str | None
    upstream_status: int | None


class RequestSearch(msgspec.Struct, frozen=True, kw_only=True):
    """Admitted in `[start, end)`; None leaves a filter out."""

    model: str | None = None
    status: Status | None = None
    start: datetime | None = None
    end: datetime | None = None
    limit: int = 50
    cursor: str | None = None


async def search_requests(database: Database, account_id: AccountId, search: RequestSearch) -> Page[RequestRow]:
    """Newest first."""
    mark = after(search.cursor)
    limit = checked_limit(search.limit)
    rows = await database.fetch(
        """
        SELECT * FROM requests
        WHERE account_id = $1 AND (admitted_position, request_id) < ($2, $3)
          AND ($4::text IS NULL OR model = $4) AND ($5::text IS NULL OR status = $5)
          AND ($6::timestamptz IS NULL OR admitted_at >= $6) AND ($7::timestamptz IS NULL OR admitted_at < $7)
        ORDER BY admitted_position DESC, request_id DESC LIMIT $8""",
        *(account_id, mark.position, mark.ident, search.model, search.status, search.start, search.end, limit + 1),
    )
    return page([_row(row) for row in rows], limit, lambda row: Mark(row.admitted_position, row.request_id))


async def find_request(database: Database, account_id: AccountId, request_id: RequestId) -> RequestRow:
    """Raises NotFound, also for another account's request."""
    rows = await database.fetch(
        "SELECT * FROM requests WHERE request_id = $1 AND account_id = $2", request_id, account_id
    )
    if not rows:
        raise NotFound("request", request_id)
    return _row(rows[0])


async def locate_request(database: Database, request_id: RequestId) -> tuple[int, int | None] | None:
    """Where its admission and its end stand in `REQ`, whosoever it is: for operators."""
    rows = await database.fetch(
        "SELECT admitted_position, ended_position FROM requests WHERE request_id = $1", request_id
    )
    return (rows[0]["admitted_position"], rows[0]["ended_position"]) if rows else None


def _row(row: Any) -> RequestRow:
    return msgspec.convert(dict(row), RequestRow)
