"""One HTTP/1.1 connection to a provider: a request out, its answer in, one after the other.

Bytes are framed by llhttp (httptools). What is not HTTP, or never ends, is an error; nothing is sent twice.
"""

import asyncio
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_UNFRAMED_BYTES = 64 * 1024
"""Of headers, chunk sizes and trailers, between two pieces of a body."""
PAUSE_BYTES = 256 * 1024
"""That nobody has taken yet. More stays with the provider."""
ASKED_FOR = frozenset({b"content-encoding", b"content-length", b"transfer-encoding", b"retry-after", b"retry-after-ms"})
NOTHING_MORE = b""


class HttpFailure(Exception):
    """Of a call; the subclasses say how."""


class NotConnected(HttpFailure):
    """Nothing was sent."""


class TimedOut(HttpFailure):
    """Nothing came for as long as a provider may be silent."""


class NotHttp(HttpFailure):
    """What came is no HTTP answer."""


class CutOff(HttpFailure):
    """The connection ended within the answer's body."""


class ConnectionGone(HttpFailure):
    """The connection ended before the answer began."""


class HttpConnection(asyncio.Protocol):
    """`status` and `headers` (names in lower case, only those of `ASKED_FOR`) are of the answer under way.

    `waits_since_s` is the loop's time since which `_more` waits for the provider, None while nobody does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self.waits_since_s: float | None = None
        self.idle_since_s = 0.0
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._size = 0
        self._unframed = 0
        self._has_head = False
        self._is_whole = False
        self._keeps_alive = False
        self._is_paused = False
        self._failure: HttpFailure | None = None

    # What the pool and the call use.

    @property
    def is_reusable(self) -> bool:
        """The last answer was read to its end, and the connection is as it was before it."""
        transport = self._transport
        return (
            self._is_whole
            and not self._pieces
            and not self._is_paused
            and self._keeps_alive
            and self._failure is None
            and transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
        )

    def begin_idling(self) -> None:
        self.idle_since_s = self._loop.time()

    def send(self, head: bytes, body: bytes) -> None:
        self._begin()
        if self._transport is None or self._transport.is_closing():
            self._failure = ConnectionGone()
        else:
            self._transport.writelines((head, body))

    async def answered(self) -> None:
        """Wait for `status` and `headers`. Raises HttpFailure."""
        while not self._has_head:
            await self._more()

    async def read(self) -> bytes:
        """What came of the body, in the order that it came; `NOTHING_MORE` at its end. Raises HttpFailure."""
        while not self._pieces:
            if self._is_whole:  # whatever came after it
                return NOTHING_MORE
            await self._more()
        pieces, self._pieces, self._size = self._pieces, [], 0
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _more(self) -> None:
        if self._failure is not None:
            raise type(self._failure)
        self.waits_since_s = self._loop.time()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = self.waits_since_s = None

    def fail(self, failure: HttpFailure) -> None:
        """Whoever waits is told; only the first failure counts."""
        self._failure = self._failure or failure
        self._wake()
        self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._unframed += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if not self._is_whole:
                self.fail(NotHttp())
                return
            self._keeps_alive = False
        if self._unframed > MAX_UNFRAMED_BYTES:
            self.fail(NotHttp())
            return
        if self._size > PAUSE_BYTES and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._over(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over(exc)
        self._transport = None

    def _over(self, error: Exception | None) -> None:
        self._keeps_alive = False
        if self._is_whole or self._failure is not None:
            return
        if not self._has_head:
            self.fail(ConnectionGone())
        elif error is None and not self.headers.keys() & {"content-length", "transfer-encoding"}:
            self._is_whole = True
            self._wake()
        else:
            self.fail(CutOff())

    # What the parser finds.

    def on_message_begin(self) -> None:
        """After a whole answer this is one that nobody asked for."""
        self._keeps_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered in ASKED_FOR and not self._has_head and not self._is_whole:
            self.headers[lowered.decode()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._is_whole:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self.headers.clear()
            return
        self.status = status
        self._has_head = True
        self._keeps_alive = self._parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        if not self._is_whole:
            self._pieces.append(piece)
            self._size += len(piece)
            self._unframed = 0

    def on_message_complete(self) -> None:
        self._is_whole = self._is_whole or self._has_head
