"""uvicorn with what it lacks at the edge: a deadline and a size for request headers."""

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.settings import Settings
from api.startup import StartupError

HEADER_DEADLINE_S = 10.0
MAX_HEADER_BYTES = 64 * 1024
KEEP_ALIVE_S = 75
GRACE_S = 30
BACKLOG = 2048
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class EdgeProtocol(HttpToolsProtocol):
    """A connection whose request headers do not come whole in time, or are too large, is closed.

    Headers that come in one piece, as nearly all do, cost no timer.
    """

    _in_headers = True
    _refused = False
    _header_bytes = 0
    _header_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse()
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
            self._refuse()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()

    def _refuse(self) -> None:
        """What was read together with the headers is parsed to its end, and goes nowhere."""
        self._refused = True
        self.transport.write(TOO_LARGE)
        self.transport.close()

    def _start_deadline(self) -> None:
        self._header_deadline = self.loop.call_later(HEADER_DEADLINE_S, self.transport.close)

    def _stop_deadline(self) -> None:
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None


def bind(settings: Settings) -> socket.socket:
    """Several processes may share the port. Raises StartupError when somebody else has it."""
    bound = socket.socket(socket.AF_INET6 if ":" in settings.server_host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((settings.server_host, settings.server_port))
    except OSError as error:
        raise StartupError(
            f"port {settings.server_port} on {settings.server_host} cannot be used ({error.strerror}): "
            "choose another with AGG_SERVER_PORT"
        ) from None
    return bound


def run_server(app: Any, settings: Settings) -> None:
    """Until SIGTERM or SIGINT; what runs then may finish within `GRACE_S`. Raises StartupError."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=EdgeProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = uvicorn.Server(config)
    server.run(sockets=[bind(settings)])
