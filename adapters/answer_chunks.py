"""A sealed answer in pieces: the first goes into the message that names it, the rest lies beside it in the stream.

Each writing has subjects of its own, named by the nonce with which the seal begins. So no piece is ever replaced, and
two answers for one key cannot mix.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from nats.aio.client import Client

from adapters.guarded_writes import HEADER_ROOM, GuardedEvents, GuardedWriter
from adapters.jetstream_reads import last_of_subject
from adapters.sealing import NONCE_BYTES
from domain.errors import Unavailable

CHUNK_BYTES = 512 * 1024
NAMING_ROOM = 1_024
"""For what the message around the first piece says besides."""
AT_ONCE = 4
DEADLINE_S = 20.0

Found = TypeVar("Found")


class AnswerChunks:
    def __init__(self, connection: Client, stream: str, writer: GuardedWriter) -> None:
        self._connection = connection
        self._stream = stream
        self._writer = writer

    async def write(self, subject: str, sealed: bytes) -> tuple[bytes, int]:
        """The first piece, and how many more are durable in the stream now. Raises Unavailable."""
        room = min(CHUNK_BYTES, self._connection.max_payload - HEADER_ROOM - NAMING_ROOM)
        first, rest = sealed[:room], [sealed[start : start + room] for start in range(room, len(sealed), room)]
        limit = asyncio.Semaphore(AT_ONCE)

        async def write_one(name: str, chunk: bytes) -> None:
            async with limit:
                await self._writer.write([GuardedEvents(name, 0, [(name, chunk)])])

        await _all_in_time(
            write_one(name, chunk) for name, chunk in zip(_names(subject, first, len(rest)), rest, strict=True)
        )
        return first, len(rest)

    async def read(self, subject: str, first: bytes, count: int) -> bytes:
        """The whole; shorter when a piece is missing, which its seal will tell. Raises Unavailable."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def read_one(name: str) -> bytes:
            async with limit:
                found = await last_of_subject(self._connection, self._stream, name)
                return found.raw if found else b""

        return b"".join([first, *await _all_in_time(read_one(name) for name in _names(subject, first, count))])


def _names(subject: str, first: bytes, count: int) -> list[str]:
    return [f"{subject}.{first[:NONCE_BYTES].hex()}.{number}" for number in range(count)]


async def _all_in_time(works: Iterable[Coroutine[Any, Any, Found]]) -> list[Found]:
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await asyncio.gather(*tasks)
    except TimeoutError:
        raise Unavailable("The event log is too slow for this answer.") from None
    finally:
        for task in tasks:
            task.cancel()
