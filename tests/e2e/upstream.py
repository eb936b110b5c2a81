"""A provider that speaks OpenAI's protocol on loopback and does what the last message asks for.

`words N [pause MS]` answers N words; `cut N` breaks off after N words; `refuse STATUS` answers with that status.
"""

import json
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-upstream-0123456789abcdef"
REFUSALS = {
    401: ("Incorrect API key provided: sk-upst**********cdef.", "invalid_request_error", "invalid_api_key"),
    429: ("Rate limit reached for requests", "requests", "rate_limit_exceeded"),
    500: ("The server had an error", "server_error", None),
}


@dataclass
class Heard:
    """One request as it arrived. `hung_up` when its client left before the end."""

    headers: dict[str, str]
    body: dict[str, Any]
    hung_up: bool = False


@dataclass
class Upstream:
    base_url: str
    heard: list[Heard] = field(default_factory=list)

    @property
    def last(self) -> Heard:
        return self.heard[-1]


@contextmanager
def upstream() -> Generator[Upstream, None, None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.said = Upstream(f"http://127.0.0.1:{server.server_port}/v1")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.said  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        heard = Heard({name.lower(): value for name, value in self.headers.items()}, body)
        self.server.said.heard.append(heard)  # type: ignore[attr-defined]
        verb, number, *rest = body["messages"][-1]["content"].split()
        if verb == "refuse":
            self._refuse(int(number))
        elif body.get("stream"):
            self._stream(heard, int(number), cut=verb == "cut", pause_s=int(rest[1]) / 1000 if rest else 0)
        else:
            message = {"role": "assistant", "content": _words(int(number))}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._answer(
                200, {**_object(body), "object": "chat.completion", "choices": [choice], "usage": _usage(int(number))}
            )

    def _stream(self, heard: Heard, count: int, *, cut: bool, pause_s: float) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        chunk = {**_object(heard.body), "object": "chat.completion.chunk"}
        try:
            for number in range(count):
                delta = {"role": "assistant", "content": f"word{number} "}
                self._event({**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
                time.sleep(pause_s)
            if cut:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._event({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            if heard.body.get("stream_options", {}).get("include_usage"):
                self._event({**chunk, "choices": [], "usage": _usage(count)})
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")
        except OSError:
            heard.hung_up = True

    def _refuse(self, status: int) -> None:
        message, kind, code = REFUSALS[status]
        self._answer(status, {"error": {"message": message, "type": kind, "param": None, "code": code}})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if status == 429:
            self.send_header("retry-after", "7")
        self.end_headers()
        self.wfile.write(body)

    def _event(self, content: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(content).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

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


def _words(count: int) -> str:
    return "".join(f"word{number} " for number in range(count))


def _object(body: dict[str, Any]) -> dict[str, Any]:
    return {"id": "chatcmpl-upstream", "created": 1_700_000_000, "model": f"{body['model']}-2026-01-01"}


def _usage(count: int) -> dict[str, int]:
    return {"prompt_tokens": 1_000, "completion_tokens": count, "total_tokens": 1_000 + count}
