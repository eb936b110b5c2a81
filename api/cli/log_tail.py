"""`agg log tail`: the latest events, then the news."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import rich_click as click
from nats.aio.client import Client

from adapters.jetstream_reads import StoredMessage, last_sequence, read_range
from adapters.log_reader import read_stream
from api.cli.log_access import LogAccess, envelopes_in, open_log_access, run, windows_back
from api.cli.log_lines import line_of, time_of
from api.settings import Settings
from domain.events import Envelope
from domain.findings import Stream

SEARCHED_BACK = 100_000
"""Messages. Who looks for older events of one account finds them by `agg trace` or the API."""
BOTH: tuple[Stream, ...] = ("EVT", "REQ")


class Wanted(msgspec.Struct, frozen=True):
    """`stream` is EVT, REQ or all; `type_prefix` may be empty."""

    stream: str
    account: str | None
    type_prefix: str

    @property
    def streams(self) -> tuple[Stream, ...]:
        return tuple(stream for stream in BOTH if self.stream in (stream, "all"))

    def matches(self, envelope: Envelope) -> bool:
        return self.account in (None, envelope.accountid) and envelope.type.startswith(self.type_prefix)


class Seen(msgspec.Struct, frozen=True):
    stream: Stream
    position: int
    index: int
    envelope: Envelope


def follow_log(settings: Settings, wanted: Wanted, *, lines: int, follow: bool, as_json: bool) -> None:
    """Until Ctrl-C, or to the end of the log."""
    with suppress(KeyboardInterrupt):
        run(_tail(settings, wanted, lines, follow, as_json))


async def _tail(settings: Settings, wanted: Wanted, lines: int, follow: bool, as_json: bool) -> None:
    async with open_log_access(settings) as access:
        heads: dict[Stream, int] = {stream: await last_sequence(access.nats, stream) for stream in wanted.streams}
        latest = [seen for stream in heads for seen in await _latest(access, stream, heads[stream], wanted, lines)]
        latest.sort(key=lambda seen: (seen.envelope.time, seen.stream, seen.position, seen.index))
        for seen in latest[max(0, len(latest) - lines) :]:
            click.echo(_line(seen, as_json))
        if follow:
            async with asyncio.TaskGroup() as group:
                for stream, head in heads.items():
                    group.create_task(_print_news(access.nats, stream, head + 1, wanted, as_json))


async def _latest(access: LogAccess, stream: Stream, head: int, wanted: Wanted, count: int) -> list[Seen]:
    """The last `count` events that are wanted; older than `SEARCHED_BACK` messages are not looked for."""
    found: list[Seen] = []
    for start, until in windows_back(head, max(1, head - SEARCHED_BACK + 1)):
        if len(found) >= count:
            break
        window = read_range(access.nats, stream, start=start, until=until)
        found = [seen async for message in window for seen in _seen(stream, message, wanted)] + found
    return found[max(0, len(found) - count) :]


async def _print_news(connection: Client, stream: Stream, start: int, wanted: Wanted, as_json: bool) -> None:
    async for message in read_stream(connection, stream, start=start, follow=True):
        for seen in _seen(stream, message, wanted):
            click.echo(_line(seen, as_json))


def _seen(stream: Stream, message: StoredMessage, wanted: Wanted) -> Sequence[Seen]:
    try:
        envelopes = envelopes_in(stream, message.raw)
    except msgspec.DecodeError:
        click.echo(f"{stream}:{message.sequence} cannot be read; `agg log verify` says why", err=True)
        return ()
    return [
        Seen(stream, message.sequence, index, envelope)
        for index, envelope in enumerate(envelopes)
        if wanted.matches(envelope)
    ]


def _line(seen: Seen, as_json: bool) -> str:
    envelope, position = seen.envelope, f"{seen.stream}:{seen.position}"
    if as_json:
        return msgspec.json.encode({"position": position, "index": seen.index, "event": envelope}).decode()
    head = f"{time_of(envelope.time)}  {position:<10}  {envelope.type:<26}  {envelope.accountid:<32}"
    return f"{head}  {line_of(envelope)}".rstrip()
