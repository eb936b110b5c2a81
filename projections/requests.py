"""Requests: one row each, from admission to the end that counts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from domain.errors import NotFound
from domain.ids import AccountId, RequestId
from domain.ports import Connection, Database
from domain.pricing import Tokens
from domain.request import RequestAbandoned, RequestAdmitted, RequestCompleted, RequestEnded, RequestFailed
from projections.paging import Mark, Page, after, checked_limit, page
from projections.projection import Event, Projection

Status = Literal["open", "completed", "failed", "abandoned"]
STATUS: dict[type[Any], Status] = {
    RequestCompleted: "completed",
    RequestFailed: "failed",
    RequestAbandoned: "abandoned",
}
ADMISSION = (
    *("request_id", "account_id", "key_id", "user_id", "lease_id", "endpoint", "model", "provider", "price_id"),
    *("upstream_model", "stream", "admitted_at", "admitted_position", "reserved_nanos", "input_estimate"),
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
    "finish_reason": "text",
    "error_kind": "text",
    "error_message": "text",
    "upstream_status": "integer",
}
NOT_ENDED = ("open", *(None for _ in range(len(END) - 1)))


class RequestRows(msgspec.Struct):
    """Requests admitted here, with their end if it is here too, and ends of requests admitted before."""

    admitted: dict[str, tuple[object, ...]]
    ended: dict[str, tuple[object, ...]]


def fold(events: Sequence[Event]) -> RequestRows:
    rows = RequestRows({}, {})
    unended: dict[str, tuple[object, ...]] = {}
    for event in events:
        fact = event.fact
        if type(fact) is RequestAdmitted:
            unended[fact.request_id] = _admission(fact, event.position)
        elif admission := unended.pop(fact.request_id, None):
            rows.admitted[fact.request_id] = admission + _end(fact, event.position)
        else:
            rows.ended[fact.request_id] = _end(fact, event.position)
    for ident, admission in unended.items():
        rows.admitted[ident] = admission + NOT_ENDED
    return rows


def _admission(fact: RequestAdmitted, position: int) -> tuple[object, ...]:
    return (
        *(fact.request_id, fact.account_id, fact.key_id, fact.user_id, fact.lease_id, fact.endpoint, fact.model),
        *(fact.provider, fact.price_id, fact.upstream_model, fact.stream, fact.at, position),
        *(fact.reserved_nanos, fact.input_estimate),
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
        *_outcome(fact),
    )


def _outcome(fact: RequestEnded) -> tuple[object, ...]:
    if type(fact) is RequestCompleted:
        return fact.finish_reason, None, None, None
    if type(fact) is RequestFailed:
        return None, fact.error_kind, fact.message, fact.upstream_status
    return None, None, None, None


_WRITE_ENDS = f"""
    UPDATE requests SET {", ".join(f"{name} = ended.{name}" for name in END)}
    FROM unnest($1::text[], {", ".join(f"${number}::{kind}[]" for number, kind in enumerate(END.values(), 2))})
        AS ended (request_id, {", ".join(END)})
    WHERE requests.request_id = ended.request_id"""  # noqa: S608  (constants)


async def write(connection: Connection, rows: RequestRows) -> None:
    if rows.admitted:
        await connection.copy("requests", (*ADMISSION, *END), rows.admitted.values())
    if rows.ended:
        await connection.execute(_WRITE_ENDS, list(rows.ended), *zip(*rows.ended.values(), strict=True))


REQUESTS = Projection(
    name="requests",
    streams=("REQ",),
    facts=(RequestAdmitted, RequestCompleted, RequestFailed, RequestAbandoned),
    fold=fold,
    write=write,
    tables=("requests",),
)


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """`upstream_model` is what was asked of the provider, `served_model` what it said it used. `usage` is its own."""

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
