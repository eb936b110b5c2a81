"""The caller's AI requests: search, and one request from its admission to its charge."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from api.auth import Caller
from api.compose import Services
from api.routes.pages import PAGE, PageLimit, ReadPageOut, read_page_out
from api.routes.reads import ReadOut, instant, money, reach
from domain.ids import RequestId
from projections.positions import Positions
from projections.request_attempts import AttemptRow, list_attempts
from projections.requests import (
    REQUESTS,
    RequestRow,
    RequestSearch,
    find_request,
    search_requests,
)


class RequestsOut(ReadPageOut, kw_only=True):
    pass


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
        limit: PageLimit = PAGE,
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
        return read_page_out(RequestsOut, page, _shown, reached)

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
    for name in ("account_id", "cost_nanos", "reserved_nanos", "request_id", "saved_nanos"):
        del members[name]
    return {
        "id": row.request_id,
        **members,
        **money("reserved", row.reserved_nanos),
        **(money("cost", row.cost_nanos) if row.cost_nanos is not None else {}),
        **(money("saved", row.saved_nanos) if row.saved_nanos is not None else {}),
    }


def _timeline(row: RequestRow, attempts: list[AttemptRow]) -> list[dict[str, Any]]:
    if row.saved_nanos is not None:
        return [_ended(row, "request.cached")]
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
    return [*timeline, _ended(row, f"request.{row.status}")]


def _ended(row: RequestRow, event: str) -> dict[str, Any]:
    return {
        "event": event,
        "at": row.ended_at,
        "position": f"REQ:{row.ended_position}",
        "evidence": row.evidence,
        **money("cost", row.cost_nanos or 0),
    }


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
