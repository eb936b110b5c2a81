"""What `agg trace` prints: a line for each step, and how the request stands."""

from typing import Any

import msgspec
import rich_click as click

from api.cli.log_access import open_log_access, run
from api.cli.log_lines import amount_nanos_of, amount_of, time_of, words_of
from api.cli.progress import progress
from api.cli.trace_search import Step, Trace, TraceSearch
from api.settings import Settings
from domain.ids import RequestId
from domain.money import usd
from domain.request import NO_LEASE, RequestAdmitted, RequestCached

TITLES = ("TIME", "POSITION", "EVENT", "AMOUNT", "PRICE", "EVIDENCE", "BY")


def trace_request(settings: Settings, request_id: str, *, scan: bool, as_json: bool) -> int:
    """The exit code."""
    trace = run(_search(settings, RequestId(request_id), scan, as_json))
    if trace.admitted is None:
        advice = "" if scan else "; --scan looks without it"
        click.echo(f"There is no request {request_id} in the log, by {trace.found_by}{advice}.", err=True)
        return 1
    click.echo(msgspec.json.encode(_as_data(trace)).decode() if as_json else _as_text(trace))
    return 0


async def _search(settings: Settings, request_id: RequestId, scan: bool, as_json: bool) -> Trace:
    async with open_log_access(settings) as access:
        with progress(wanted=not as_json) as bar:
            bar.begin("REQ", None)
            return await TraceSearch(access, request_id, scan=scan, advance=bar.advance).run()


def _as_data(trace: Trace) -> dict[str, Any]:
    assert trace.admitted
    fact = trace.admitted.fact
    return {
        "request_id": fact.request_id,
        "account_id": fact.account_id,
        "status": _status(trace),
        "charged": trace.charged is not None,
        "says": _standing(trace),
        "found_by": trace.found_by,
        "steps": [_step_as_data(step, is_void=step in trace.void) for step in trace.steps],
    }


def _step_as_data(step: Step, *, is_void: bool) -> dict[str, Any]:
    nanos = amount_nanos_of(step.fact)
    return {
        "time": step.envelope.time,
        "position": f"{step.stream}:{step.position}",
        "event": step.envelope.type,
        "amount_usd": None if nanos is None else usd(nanos),
        "amount_nanos": nanos,
        "price_id": getattr(step.fact, "price_id", None),
        "evidence": getattr(step.fact, "evidence", None),
        "actor": _actor(step),
        "void": is_void,
        "data": step.envelope.data,
    }


def _as_text(trace: Trace) -> str:
    assert trace.admitted
    fact = trace.admitted.fact
    rows = [TITLES, *(_row(step) for step in trace.steps)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    lines = [f"Request {fact.request_id} of account {fact.account_id}", _standing(trace), "", _aligned(TITLES, widths)]
    for step, row in zip(trace.steps, rows[1:], strict=True):
        void = "void, an earlier end counts: " if step in trace.void else ""
        lines += [_aligned(row, widths), f"{'':<{widths[0]}}  {void}{words_of(step.fact)}"]
    if trace.leased is None and fact.lease_id != NO_LEASE:
        lines.append(f"The event that opened lease {fact.lease_id} was not found in the account's ledger.")
    return "\n".join([*lines, "", f"Found by {trace.found_by}; every line is read from the log itself."])


def _row(step: Step) -> tuple[str, ...]:
    return (
        time_of(step.envelope.time),
        f"{step.stream}:{step.position}",
        step.envelope.type,
        amount_of(step.fact) or "-",
        getattr(step.fact, "price_id", "-"),
        getattr(step.fact, "evidence", "-"),
        _actor(step),
    )


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _actor(step: Step) -> str:
    """Who did it: the caller of what was admitted, and of other request events the process that wrote them."""
    if isinstance(step.fact, RequestAdmitted | RequestCached) and (step.fact.key_id or step.fact.user_id):
        return f"key:{step.fact.key_id}" if step.fact.key_id else f"user:{step.fact.user_id}"
    return step.envelope.actor or step.envelope.source.replace("/workers/", "worker:")


def _status(trace: Trace) -> str:
    """`open`, `completed`, `failed` or `abandoned`; what the cache answered is completed."""
    if trace.ended is None:
        return "open"
    return "completed" if isinstance(trace.ended.fact, RequestCached) else trace.ended.envelope.type.split(".")[1]


def _standing(trace: Trace) -> str:
    if trace.ended is None:
        return "open: it was admitted and has not ended; nothing is charged yet"
    cost_nanos = trace.ended.fact.cost_nanos
    status = _status(trace)
    if isinstance(trace.ended.fact, RequestCached):
        status += ", answered from the cache"
    if not cost_nanos:
        return f"{status}: it costs nothing, so nothing is charged"
    if trace.charged is None:
        return f"{status}, not charged yet: it costs {usd(cost_nanos)} USD"
    return f"{status} and charged: {usd(cost_nanos)} USD, part of the charge at EVT:{trace.charged.position}"
