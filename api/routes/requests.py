"""The caller's AI requests: search, and one request from its admission to its charge."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from api.auth import Caller
from api.compose import Services
from api.routes.reads import ReadOut, instant, money, reach
from domain.ids import RequestId
from projections.paging import LARGEST_PAGE
from projections.positions import Positions
from projections.requests import (
    REQUESTS,
    AttemptRow,
    RequestRow,
    RequestSearch,
    find_request,
    list_attempts,
    search_requests,
)

PAGE = 50


class RequestsOut(ReadOut, kw_only=True):
    data: list[dict[str, Any]]
    has_more: bool
    next_cursor: str | None


class RequestOut(ReadOut, kw_only=True):
    data: dict[str, Any]


class RequestsController(Controller):
    path = "/requests"
    tags = ("requests",)

    @get(operation_id="search_requests", summary="The account's AI requests, newest first")
    async def search(  # noqa: PLR0913  (the filters of a search)
        self,
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
        wanted: NamedDependency[Positions],
        model: FromQuery[str | None] = None,
        status: FromQuery[Literal["open", "completed", "failed", "abandoned"] | None] = None,
        start: Annotated[str | None, QueryParameter(name="from")] = None,
        end: Annotated[str | None, QueryParameter(name="to")] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)] = PAGE,
        cursor: FromQuery[str | None] = None,
    ) -> RequestsOut:
        search = RequestSearch(
            model=model,
            status=status,
            start=instant(start, "from") if start else None,
            end=instant(end, "to") if end else None,
            limit=limit,
            cursor=cursor,
        )
        database = services.backbone.database
        reached = await reach(database, REQUESTS, wanted, caller.account_id)
        page = await search_requests(database, caller.account_id, search)
        return RequestsOut(
            data=[_shown(row) for row in page.rows],
            has_more=page.next_cursor is not None,
            next_cursor=page.next_cursor,
            position=str(reached),
            as_of=reached.as_of,
        )

    @get("/{request_id:str}", operation_id="read_request", summary="One request, with its timeline and its price")
    async def read(
        self,
        request_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
        wanted: NamedDependency[Positions],
    ) -> RequestOut:
        database = services.backbone.database
        reached = await reach(database, REQUESTS, wanted, caller.account_id)
        row = await find_request(database, caller.account_id, RequestId(request_id))
        attempts = await list_attempts(database, caller.account_id, RequestId(request_id))
        data = {**_shown(row), "timeline": _timeline(row, attempts)}
        return RequestOut(data=data, position=str(reached), as_of=reached.as_of)


def _shown(row: RequestRow) -> dict[str, Any]:
    members = msgspec.structs.asdict(row)
    for name in ("account_id", "cost_nanos", "reserved_nanos", "request_id"):
        del members[name]
    return {
        "id": row.request_id,
        **members,
        **money("reserved", row.reserved_nanos),
        **(money("cost", row.cost_nanos) if row.cost_nanos is not None else {}),
    }


def _timeline(row: RequestRow, attempts: list[AttemptRow]) -> list[dict[str, Any]]:
    admitted = {
        "event": "request.admitted",
        "at": row.admitted_at,
        "position": f"REQ:{row.admitted_position}",
        "lease_id": row.lease_id,
        **money("reserved", row.reserved_nanos),
    }
    timeline = [admitted, *[_attempt(attempt) for attempt in attempts]]
    if row.ended_at is None:
        return timeline
    ended = {
        "event": f"request.{row.status}",
        "at": row.ended_at,
        "position": f"REQ:{row.ended_position}",
        "evidence": row.evidence,
        **money("cost", row.cost_nanos or 0),
    }
    return [*timeline, ended]


def _attempt(attempt: AttemptRow) -> dict[str, Any]:
    """What its provider bills is shown, and is nobody's charge."""
    members = msgspec.structs.asdict(attempt)
    position, billed_nanos = members.pop("position"), members.pop("cost_nanos")
    return {
        "event": "request.attempted",
        "at": members.pop("at"),
        "position": f"REQ:{position}",
        **members,
        **money("billed", billed_nanos),
    }
