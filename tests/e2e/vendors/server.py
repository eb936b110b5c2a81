"""What all stand-ins share: an HTTP server that keeps what it hears and answers what its vendor would."""

import json
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Heard:
    """One request as it arrived; names of headers in small letters."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Whole:
    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Streamed:
    """Server-sent events as bytes; a `cut` one breaks off instead of ending."""

    events: Sequence[bytes]
    is_cut: bool = False


Answer = Whole | Streamed
Vendor = Callable[[Heard], Answer]


@dataclass
class StandIn:
    """`key` is what it was to be called with."""

    base_url: str
    key: str
    heard: list[Heard] = field(default_factory=list[Heard])

    def heard_for(self, request_id: str) -> list[Heard]:
        return [heard for heard in self.heard if heard.headers["x-agg-request-id"] == request_id]


@contextmanager
def stand_in(vendor: Vendor, key: str) -> Generator[StandIn, None, None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    running = StandIn(f"http://127.0.0.1:{server.server_port}", key)
    server.vendor, server.running = vendor, running  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        heard = Heard(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        self.server.running.heard.append(heard)  # type: ignore[attr-defined]
        answer: Answer = self.server.vendor(heard)  # type: ignore[attr-defined]
        if isinstance(answer, Whole):
            self._whole(answer)
        else:
            self._streamed(answer)

    def _whole(self, answer: Whole) -> None:
        data = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"content-type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _streamed(self, answer: Streamed) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in answer.events:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        if answer.is_cut:
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.wfile.write(b"0\r\n\r\n")

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (OSError, ValueError):  # our own cut, or a peer that is gone
            self.close_connection = True

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
