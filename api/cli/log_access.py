"""What the commands about the log open: NATS, and Postgres when it answers."""

import asyncio
import re
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from nats.aio.client import Client

from adapters.jetstream_reads import StoredMessage
from adapters.nats_connection import connect_nats
from adapters.postgres import open_database
from api.endpoints import find_services
from api.logs import configure_logs
from api.settings import Settings
from api.startup import StartupError
from domain.errors import Unavailable
from domain.events import Envelope, decode_batch, decode_envelope
from domain.findings import Stream
from domain.ports import Database, LogMessage

T = TypeVar("T")

PATIENCE_S = 5.0
FIRST_WINDOW = 2_000
LARGEST_WINDOW = 64_000

_POSITION = re.compile(r"(EVT|REQ):([1-9]\d{0,17})", re.IGNORECASE)


@dataclass(frozen=True)
class LogAccess:
    """`database` is None when Postgres does not answer."""

    nats: Client
    database: Database | None


@asynccontextmanager
async def open_log_access(settings: Settings) -> AsyncGenerator[LogAccess]:
    """Raises StartupError when the log does not answer. It needs nothing else."""
    services = find_services(settings)
    if services.nats_url is None:
        raise StartupError(f"nothing runs in {settings.data_dir}: start it with `just up`, or set AGG_NATS_URL")
    configure_logs(settings.model_copy(update={"log_level": "error"}))
    try:
        connection = await connect_nats(services.nats_url, "agg-log", patience_s=PATIENCE_S)
    except Unavailable as error:
        raise StartupError(f"NATS does not answer: start it, or correct AGG_NATS_URL ({error})") from error
    async with AsyncExitStack() as stack:
        stack.push_async_callback(connection.close)
        database = None
        if services.database is not None:
            pool = await stack.enter_async_context(open_database(services.database, size=2))
            database = pool if await _answers(pool) else None
        yield LogAccess(connection, database)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Raises StartupError, with one line, when the log or the database stops answering."""
    try:
        return asyncio.run(work)
    except Unavailable as error:
        raise StartupError(str(error)) from error


def read_position(text: str) -> tuple[Stream, int] | None:
    """`EVT:12` → ("EVT", 12); None for anything else."""
    found = _POSITION.fullmatch(text.strip())
    return (cast(Stream, found[1].upper()), int(found[2])) if found else None


def envelopes_in(stream: Stream, raw: bytes) -> list[Envelope]:
    """Raises msgspec.DecodeError."""
    return decode_batch(raw) if stream == "REQ" else [decode_envelope(raw)]


def log_message(stream: Stream, stored: StoredMessage) -> LogMessage:
    return LogMessage(stream, stored.sequence, stored.subject, stored.time, stored.raw)


def windows_back(last: int, first: int = 1) -> Iterator[tuple[int, int]]:
    """From `last` back to `first` in ever larger steps: what is recent is found soon, what is old in few steps."""
    width = FIRST_WINDOW
    while last >= first:
        start = max(first, last - width + 1)
        yield start, last
        last, width = start - 1, min(LARGEST_WINDOW, 2 * width)


async def _answers(database: Database) -> bool:
    try:
        await database.fetch("SELECT 1")
    except Unavailable:
        return False
    return True
