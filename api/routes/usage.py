"""What the caller's account has used."""

import csv
import io
from datetime import timedelta
from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from api.auth import Caller
from api.compose import Services, now
from api.routes.reads import ReadOut, instant, money, reach
from domain.errors import InvalidInput
from domain.pricing import TOKEN_CLASSES
from projections.positions import Positions
from projections.usage import USAGE, UsageRow, read_usage

USUAL_RANGE = timedelta(days=30)
LONGEST_RANGE = timedelta(days=400)


class UsageOut(ReadOut, kw_only=True):
    data: list[dict[str, Any]]
    totals: dict[str, Any]


class UsageController(Controller):
    path = "/users/usage"
    tags = ("usage",)

    @get(
        operation_id="read_usage",
        summary="The account's usage and cost, by hour, day, model, provider or key",
    )
    async def read_usage(
        self,
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
        wanted: NamedDependency[Positions],
        start: Annotated[str | None, QueryParameter(name="from")] = None,
        end: Annotated[str | None, QueryParameter(name="to")] = None,
        group_by: FromQuery[Literal["hour", "day", "model", "provider", "key"]] = "day",
        format: FromQuery[Literal["json", "csv"]] = "json",
    ) -> Response[Any]:
        until = instant(end, "to") if end else now() + timedelta(hours=1)
        since = instant(start, "from") if start else until - USUAL_RANGE
        if not since < until or until - since > LONGEST_RANGE:
            raise InvalidInput("from: must be before `to`, by at most 400 days.", field="from")
        database = services.backbone.database
        reached = await reach(database, USAGE, wanted, caller.account_id)
        report = await read_usage(database, caller.account_id, since, until, group_by)
        rows = [_out(row, group_by) for row in report.rows]
        if format == "csv":
            return Response(_csv(rows, group_by), media_type="text/csv; charset=utf-8")
        totals = _out(report.totals, None)
        return Response(UsageOut(data=rows, totals=totals, position=str(reached), as_of=reached.as_of))


def _out(row: UsageRow, group_by: str | None) -> dict[str, Any]:
    counts = msgspec.structs.asdict(row)
    tokens = {name: counts[name] for name in TOKEN_CLASSES}
    group = {group_by: row.group} if group_by else {}
    return {
        **group,
        "requests": row.requests,
        "failed": row.failed,
        "tokens": tokens,
        "total_tokens": sum(tokens.values()),
        **money("cost", row.cost_nanos),
    }


def _csv(rows: list[dict[str, Any]], group_by: str) -> str:
    columns = [group_by, "requests", "failed", *TOKEN_CLASSES, "total_tokens", "cost_usd", "cost_nanos"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **row["tokens"]} for row in rows)
    return text.getvalue()
