"""What uvicorn lacks on a connection: a deadline and a size for request headers, and a bound on how many there are."""

import asyncio
from typing import Any, cast
from urllib.parse import unquote

from httptools import HttpRequestParser, parse_url
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.edge_cycle import EdgeCycle

HEADER_DEADLINE_S = 10.0
MAX_HEADER_BYTES = 64 * 1024
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
UNREADABLE = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class EdgeProtocol(HttpToolsProtocol):
    """A connection whose request headers do not come whole in time, or are too large, is closed; one that comes when
    `most_connections` are open is told so at once.

    Headers that come in one piece, as nearly all do, cost no timer.
    """

    _in_headers = True
    _refused = False
    _header_bytes = 0
    _newest_bytes = 0
    _header_deadline: asyncio.TimerHandle | None = None
    _idle_since_s: float | None = None
    _running: RequestResponseCycle | None = None
    _last_words = b""

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
        """All that is asked for here hears of it: uvicorn tells only what came last."""
        self._stop_deadline()
        super()._unset_keepalive_if_required()
        for cycle in (self._running, *[waiting for waiting, _ in self.pipeline]):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._running = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._newest_bytes = len(data)
        super().data_received(data)
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(TOO_LARGE)
            elif self._header_deadline is None:
                self._start_deadline()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._idle_since_s = None
        self._in_headers = True
        self._header_bytes = 0

    def on_headers_complete(self) -> None:
        """As uvicorn does it, with a cycle of ours, and without what this server never does."""
        self._in_headers = False
        self._stop_deadline()
        if self._refused:
            return
        if self._are_headers_too_large():
            self._refuse(TOO_LARGE)
            return
        keeps_alive = self._complete_scope()
        cycle = EdgeCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keeps_alive,
            on_response=self.on_response_complete,
        )
        app = cast(Any, self.app)
        if self.is_asked:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))
        else:
            self._start_asgi_task(cycle, app)
        self.cycle = cycle

    def _complete_scope(self) -> bool:
        """Whether the connection stays open afterwards."""
        parser, scope = cast(HttpRequestParser, self.parser), self.scope
        version = parser.get_http_version()
        if version != "1.1":
            scope["http_version"] = version
        url = parse_url(self.url)
        path = url.path.decode("ascii")
        scope["method"] = parser.get_method().decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        return version != "1.0" and parser.should_keep_alive()

    def _are_headers_too_large(self) -> bool:
        """They are counted only where what came could be more than may be."""
        if self._header_bytes + self._newest_bytes <= MAX_HEADER_BYTES:
            return False
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEADER_BYTES

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn does it, but one timer a connection tells when it was idle for too long, not one an answer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        if self._last_words:
            self.transport.write(self._last_words)
            self.transport.close()
            return
        self._idle_since_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_after(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """uvicorn calls it when something is read. Only a request makes a connection busy, and that has its own end."""

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """After the answers to what came before."""
        if self.is_asked:
            self._refuse(UNREADABLE)
        else:
            super().send_400_response(msg)

    def _look_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        since_s, limit_s = self._idle_since_s, self.timeout_keep_alive
        left_s = limit_s if since_s is None else since_s + limit_s - self.loop.time()
        if left_s > 0:
            self._look_after(left_s)
        else:
            self.transport.close()

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
        """What was read together with the headers is parsed to its end, and goes nowhere. It is said after the answers
        to what came before."""
        self._refused = True
        if self.is_asked:
            self._last_words = answer
        else:
            self.transport.write(answer)
            self.transport.close()

    def _start_deadline(self) -> None:
        self._header_deadline = self.loop.call_later(HEADER_DEADLINE_S, self.transport.close)

    def _stop_deadline(self) -> None:
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None
