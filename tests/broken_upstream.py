"""A provider on loopback that answers with exactly these bytes, and breaks exactly there."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import TypeAlias

import msgspec


class Do(Enum):
    """What a connection does besides saying bytes; without one of the first three its end is an ordinary close."""

    RESET = "reset"
    HALF_CLOSE = "half close"
    STALL = "stall"
    """Silent, with the connection open, until the test is over."""


class Filler(msgspec.Struct, frozen=True):
    """The same bytes again and again, as long as the other side takes them."""

    data: bytes
    times: int


Step: TypeAlias = bytes | Do | Filler
RESET = struct.pack("ii", 1, 0)


class BrokenUpstream:
    """Plays `scripts` one after the other, a request each; a request too many finds the connection closed."""

    def __init__(self, scripts: Sequence[Sequence[Step]]) -> None:
        self._scripts = scripts
        self._over = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.asked = 0
        self.url = ""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        assert self._server
        self._server.close()
        self._over.set()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await task
        self._serving.discard(task)
        writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await _read_request(reader)
            self.asked += 1
            if self.asked > len(self._scripts):
                return
            for step in self._scripts[self.asked - 1]:
                await self._play(step, writer)
            if self.asked == len(self._scripts):
                await _say_goodbye(writer)
                return

    async def _play(self, step: Step, writer: asyncio.StreamWriter) -> None:
        match step:
            case bytes():
                writer.write(step)
                await writer.drain()
            case Filler():
                for _ in range(step.times):
                    writer.write(step.data)
                    await writer.drain()
            case Do.RESET:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()
            case Do.HALF_CLOSE:
                writer.write_eof()
                await self._over.wait()
            case Do.STALL:
                await self._over.wait()


async def _read_request(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))


async def _say_goodbye(writer: asyncio.StreamWriter) -> None:
    if not writer.is_closing():
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def broken_upstream(*scripts: Sequence[Step]) -> AsyncGenerator[BrokenUpstream]:
    upstream = BrokenUpstream(scripts)
    await upstream.open()
    try:
        yield upstream
    finally:
        await upstream.close()


def answer(body: bytes, *, status: int = 200, headers: str = "content-type: application/json\r\n") -> bytes:
    return head(f"{headers}content-length: {len(body)}\r\n", status=status) + body


def head(headers: str, *, status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} Said\r\n{headers}\r\n".encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def streamed(*events: bytes, status: int = 200) -> bytes:
    """In chunks, an event each."""
    return STREAM_HEAD.replace(b"200", b"%d" % status) + b"".join(map(chunk, events)) + LAST_CHUNK


STREAM_HEAD = head("content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n")
LAST_CHUNK = b"0\r\n\r\n"
