"""`agg log verify`: reads both streams from their first message on and says whether they hold together."""

import time
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import rich_click as click

from adapters.jetstream_reads import last_sequence
from adapters.log_reader import read_stream
from api.cli.log_access import LogAccess, log_message, open_log_access, run
from api.cli.progress import Bar, progress
from api.settings import Settings
from domain.archive_check import ArchiveCheck
from domain.errors import Unavailable
from domain.fact_check import FactCheck
from domain.findings import Findings, Stream
from domain.money import usd
from domain.ports import LogMessage
from domain.request_check import RequestCheck
from projections.event_archive import archived_to, read_archive

CHUNK = 500
CHUNK_BYTES = 4_000_000


class Verification:
    """One run over one log."""

    def __init__(self, access: LogAccess, bar: Bar) -> None:
        self.findings = Findings()
        self.facts = FactCheck(self.findings)
        self.requests = RequestCheck(self.facts.charges, self.findings)
        self.archives: dict[Stream, ArchiveCheck] = {}
        self._access = access
        self._archive = access.database
        self._bar = bar

    async def run(self) -> None:
        """`EVT` first: its charges can only be about requests that `REQ` holds when that is read later."""
        await self._read("EVT", self.facts.apply)
        head = await self._read("REQ", self.requests.apply)
        self.requests.finish(datetime.now(UTC))
        if self.requests.doubts:
            self._bar.begin("REQ once more, to explain what looks wrong", head)
            async for stored in read_stream(self._access.nats, "REQ", until=head):
                self.requests.explain(log_message("REQ", stored))
                self._bar.advance(1)
        self.requests.conclude()

    async def _read(self, stream: Stream, apply: Callable[[LogMessage], None]) -> int:
        """Up to what was last when it began; its position."""
        archived = await self._ask(lambda database: archived_to(database, stream))
        head = await last_sequence(self._access.nats, stream)
        if archived is not None:
            self.archives[stream] = ArchiveCheck(stream, archived, head, self.findings)
        self._bar.begin(stream, head)
        compared = 0
        async for chunk in self._chunks(stream, head):
            for message in chunk:
                apply(message)
            await self._compare(stream, compared, chunk)
            self._bar.advance(len(chunk))
            compared = chunk[-1].position
        return head

    async def _chunks(self, stream: Stream, head: int) -> AsyncGenerator[list[LogMessage]]:
        """Few enough messages, and bytes, to hold twice."""
        chunk: list[LogMessage] = []
        size = 0
        async for stored in read_stream(self._access.nats, stream, until=head):
            chunk.append(log_message(stream, stored))
            size += len(stored.raw)
            if len(chunk) == CHUNK or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    async def _compare(self, stream: Stream, after: int, chunk: list[LogMessage]) -> None:
        """With what the archive has between the chunk before and the end of this one."""
        last = chunk[-1].position
        limit = last - after
        copies = await self._ask(lambda database: read_archive(database, stream, after=after, limit=limit))
        if copies is not None and stream in self.archives:
            archived = {copy.position: (copy.subject, copy.raw) for copy in copies if copy.position <= last}
            self.archives[stream].compare(chunk, archived)

    async def _ask(self, query: Callable[[Any], Any]) -> Any:
        """None once Postgres does not answer."""
        if self._archive is None:
            return None
        try:
            return await query(self._archive)
        except Unavailable:
            self._archive = None
            return None

    @property
    def archive_answers(self) -> bool:
        return self._archive is not None


def verify_log(settings: Settings, *, as_json: bool) -> int:
    """The exit code."""
    started = time.monotonic()
    done = run(_verify(settings, as_json))
    seconds = time.monotonic() - started
    if as_json:
        click.echo(msgspec.json.encode({**_as_data(done), "seconds": round(seconds, 3)}).decode())
    else:
        click.echo(_as_text(done, seconds))
    return 1 if done.findings.total else 0


async def _verify(settings: Settings, as_json: bool) -> Verification:
    async with open_log_access(settings) as access:
        with progress(wanted=not as_json) as bar:
            verification = Verification(access, bar)
            await verification.run()
        return verification


def _as_data(done: Verification) -> dict[str, Any]:
    facts, requests, waiting = done.facts, done.requests, done.requests.waiting
    return {
        "good": not done.findings.total,
        "findings": done.findings.kept,
        "findings_total": done.findings.total,
        "EVT": {"messages": facts.messages, "aggregates": facts.aggregates, "charges": facts.charges.count},
        "REQ": {
            "messages": requests.messages,
            "events": requests.events,
            "writers": requests.writers,
            "repeated_by_retries": requests.duplicates,
            "admitted": requests.admitted,
            "ended": requests.ended,
            "open": requests.open_requests,
            "void_ends": requests.void_ends,
            "not_charged_yet": waiting.count,
            "not_charged_yet_usd": usd(waiting.cost_nanos),
            "not_charged_yet_nanos": waiting.cost_nanos,
        },
        "archive": {
            "answers": done.archive_answers,
            **{name: {"compared": copy.compared, "behind": copy.behind} for name, copy in done.archives.items()},
        },
    }


def _as_text(done: Verification, seconds: float) -> str:
    facts, requests = done.facts, done.requests
    rate = (facts.messages + requests.messages) / max(seconds, 0.001)
    lines = [
        f"EVT      {facts.messages:,} messages: {facts.aggregates:,} aggregates, {facts.charges.count:,} charges",
        f"REQ      {requests.messages:,} messages: {requests.events:,} events, {requests.writers:,} writing processes, "
        f"{requests.admitted:,} requests admitted, {requests.ended:,} ended, {requests.open_requests:,} open",
        f"archive  {_archive_in_words(done)}",
        *_remarks(requests),
        f"Read in {seconds:.1f} s ({rate:,.0f} messages/s).",
        "",
    ]
    total = done.findings.total
    if not total:
        return "\n".join([*lines, "The log is sound."])
    width = max(len(finding.position) for finding in done.findings.kept)
    lines.append(f"The log is NOT sound: {total:,} finding{'s' if total > 1 else ''}.")
    for finding in done.findings.kept:
        lines.append(f"{finding.position:<{width}}  {finding.code}: {finding.detail}. Remedy: {finding.remedy}.")
    if total > len(done.findings.kept):
        lines.append(f"… and {total - len(done.findings.kept):,} more")
    return "\n".join(lines)


def _archive_in_words(done: Verification) -> str:
    if not done.archive_answers:
        return "not compared: Postgres does not answer"
    parts = [f"{name} {copy.compared:,} compared, {copy.behind:,} behind" for name, copy in done.archives.items()]
    return "; ".join(parts)


def _remarks(requests: RequestCheck) -> list[str]:
    """What is worth knowing and no mistake."""
    remarks: list[str] = []
    if requests.duplicates:
        remarks.append(f"note     {requests.duplicates:,} events were written again by a retry: harmless, counted once")
    if requests.void_ends:
        remarks.append(f"note     {requests.void_ends:,} requests ended twice: the first end counts, the other is void")
    if requests.waiting.count:
        waiting = requests.waiting
        remarks.append(f"note     {waiting.count:,} ended requests ({usd(waiting.cost_nanos)} USD) wait to be charged")
    return remarks
