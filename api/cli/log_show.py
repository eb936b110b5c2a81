"""`agg log show`: one message as it is stored, and what it says."""

from typing import Any

import msgspec
import rich_click as click

from adapters.jetstream_reads import StoredMessage, last_sequence, message_at
from api.cli.log_access import envelopes_in, open_log_access, run
from api.cli.log_lines import line_of, time_of
from api.settings import Settings
from commands.store import hash_of
from domain.findings import Stream


def show_message(settings: Settings, stream: Stream, position: int, *, as_json: bool) -> int:
    """The exit code."""
    stored, last = run(_read(settings, stream, position))
    if stored is None:
        click.echo(f"There is no {stream}:{position}; the stream ends at {stream}:{last}.", err=True)
        return 1
    click.echo(msgspec.json.encode(_as_data(stream, stored)).decode() if as_json else _as_text(stream, stored))
    return 0


async def _read(settings: Settings, stream: Stream, position: int) -> tuple[StoredMessage | None, int]:
    async with open_log_access(settings) as access:
        stored = await message_at(access.nats, stream, position)
        return stored, await last_sequence(access.nats, stream)


def _as_data(stream: Stream, stored: StoredMessage) -> dict[str, Any]:
    data: dict[str, Any] = {
        "position": f"{stream}:{stored.sequence}",
        "subject": stored.subject,
        "stored_at": stored.time,
        "message_id": stored.ident,
        "bytes": len(stored.raw),
        "sha256": hash_of(stored.raw),
    }
    try:
        return {**data, "events": envelopes_in(stream, stored.raw)}
    except msgspec.DecodeError as unreadable:
        return {**data, "events": [], "unreadable": str(unreadable)}


def _as_text(stream: Stream, stored: StoredMessage) -> str:
    hint = "  (the aggregate's next event carries it as prevhash)" if stream == "EVT" else ""
    lines = [
        f"{stream}:{stored.sequence}  {stored.subject}",
        f"stored   {time_of(stored.time)}, {len(stored.raw):,} bytes, message id {stored.ident or 'none'}",
        f"sha256   {hash_of(stored.raw)}{hint}",
    ]
    try:
        envelopes = envelopes_in(stream, stored.raw)
    except msgspec.DecodeError as unreadable:
        return "\n".join([*lines, "", f"It cannot be read: {unreadable}", repr(stored.raw[:1_000])])
    for number, envelope in enumerate(envelopes, 1):
        text = msgspec.json.format(msgspec.json.encode(envelope), indent=2).decode()
        lines += ["", f"event {number} of {len(envelopes)}: {envelope.type}  {line_of(envelope)}".rstrip(), text]
    return "\n".join(lines)
