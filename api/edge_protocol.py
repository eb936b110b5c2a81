"""What uvicorn lacks on a connection: a deadline and a size for request headers, and a bound on how many there are."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEADER_DEADLINE_S = 10.0
MAX_HEADER_BYTES = 64 * 1024
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class EdgeProtocol(HttpToolsProtocol):
    """A connection whose request headers do not come whole in time, or are too large, is closed; one that comes when
    `most_connections` are open is told so at once.

    Headers that come in one piece, as nearly all do, cost no timer.
    """

    _in_headers = True
    _refused = False
    _header_bytes = 0
    _header_deadline: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, most_connections: int, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._most_connections = most_connections

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._most_connections:
            self._refuse(TOO_MANY)
        else:
            self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(TOO_LARGE)
            elif self._header_deadline is None:
                self._start_deadline()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True
        self._header_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._stop_deadline()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEADER_BYTES:
            self._refuse(TOO_LARGE)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()

    def close_after_answer(self) -> None:
        """If one is due."""
        if self.is_asked:
            self.cycle.keep_alive = False

    def close_unless_asked(self) -> None:
        """Unless a request is here or on its way."""
        if not self.is_asked and not (self._in_headers and self._header_bytes):
            self.transport.close()

    @property
    def is_asked(self) -> bool:
        """An answer is due, or under way."""
        cycle = cast(RequestResponseCycle | None, self.cycle)
        return cycle is not None and not cycle.response_complete

    def _refuse(self, answer: bytes) -> None:
        """What was read together with the headers is parsed to its end, and goes nowhere."""
        self._refused = True
        self.transport.write(answer)
        self.transport.close()

    def _start_deadline(self) -> None:
        self._header_deadline = self.loop.call_later(HEADER_DEADLINE_S, self.transport.close)

    def _stop_deadline(self) -> None:
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None
