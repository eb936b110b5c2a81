"""A TCP proxy on loopback that can lose what the server says, stop taking bytes, or cut every connection."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

CHUNK_BYTES = 65_536
BUFFER_BYTES = 65_536


class TcpProxy:
    """While it is `deaf`, what the server answers is thrown away."""

    def __init__(self, target_url: str) -> None:
        target = urlsplit(target_url)
        self._target = (target.hostname, target.port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.deaf = False
        self.port = 0
        self._thawed = asyncio.Event()
        self._thawed.set()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def freeze(self) -> None:
        """Nothing moves any more, and the sockets stay open."""
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def open(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)  # a frozen one soon takes no more
        listener.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._serve, sock=listener)
        self.port = listener.getsockname()[1]

    async def close(self) -> None:
        assert self._server
        self._server.close()
        self.thaw()
        self.cut()
        await asyncio.sleep(0.02)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, upstream_writer}
        try:
            await asyncio.gather(
                self._pump(reader, upstream_writer, answers=False),
                self._pump(upstream_reader, writer, answers=True),
            )
        finally:
            self._writers -= {writer, upstream_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError, asyncio.CancelledError):
            while True:
                await self._thawed.wait()
                if not (chunk := await reader.read(CHUNK_BYTES)):
                    break
                await self._thawed.wait()
                if not (answers and self.deaf):
                    writer.write(chunk)
                    await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def tcp_proxy(target_url: str) -> AsyncGenerator[TcpProxy]:
    proxy = TcpProxy(target_url)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
