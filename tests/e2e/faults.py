"""A provider on loopback that speaks OpenAI's protocol well below `/healthy/v1`, and below `/faulty/v1` fails as the
last message says."""

import json
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROMPT_TOKENS = 1_000
HEALTHY_WORDS, FAULTY_WORDS = 10, 7
SLOW_PAUSE_S = 0.3
"""Between two words of the slow stream."""
HOLD_ON = "hold on"
"""What the healthy one answers only once it is released."""
LONGEST_S = 60.0
EVENT_STREAM, JSON, HTML = "text/event-stream", "application/json", "text/html"


@dataclass
class FaultyUpstream:
    """`hung_up` are the ids of requests whose connection was closed before they were answered."""

    base_url: str
    holding: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    hung_up: set[str] = field(default_factory=set[str])


@contextmanager
def faulty_upstream() -> Generator[FaultyUpstream, None, None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    upstream = FaultyUpstream(f"http://127.0.0.1:{server.server_port}")
    server.upstream = upstream  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield upstream
    finally:
        upstream.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.wants_stream = bool(self.body.get("stream"))
        self.upstream: FaultyUpstream = self.server.upstream  # type: ignore[attr-defined]
        asked = self.body["messages"][-1]["content"]
        if self.path.startswith("/healthy/"):
            if asked == HOLD_ON:
                self.upstream.holding.set()
                self.upstream.released.wait(LONGEST_S)
            self.answer("healthy", HEALTHY_WORDS)
        else:
            FAULTS[asked](self)

    def answer(self, word: str, count: int, *, pause_s: float = 0.0) -> None:
        words = [f"{word}{number} " for number in range(count)]
        if not self.wants_stream:
            message = {"role": "assistant", "content": "".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.whole({**self._object("chat.completion"), "choices": [choice], "usage": _usage(count)})
            return
        self.begin_stream()
        for each in words:
            self.say(each)
            time.sleep(pause_s)
        self.event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if self.body.get("stream_options", {}).get("include_usage"):
            self.event([], usage=_usage(count))
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def whole(self, content: object, status: int = 200, headers: Mapping[str, str] = {}) -> None:
        self.raw(json.dumps(content).encode(), status=status, headers=headers)

    def raw(
        self, data: bytes, *, status: int = 200, kind: str = JSON, more: int = 0, headers: Mapping[str, str] = {}
    ) -> None:
        """`more` bytes are promised and do not come."""
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(data) + more), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", EVENT_STREAM)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def say(self, word: str) -> None:
        self.event([{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}])

    def event(self, choices: list[dict[str, Any]], **members: Any) -> None:
        content = {**self._object("chat.completion.chunk"), "choices": choices, **members}
        self.chunk(b"data: " + json.dumps(content).encode() + b"\n\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def refuse(self, status: int, headers: Mapping[str, str] = {}) -> None:
        error = {"message": f"No, {status}.", "type": "server_error", "param": None, "code": None}
        self.whole({"error": error}, status, headers)

    def until_hung_up(self) -> None:
        """Silent from now on."""
        self.connection.settimeout(LONGEST_S)
        with suppress(OSError):
            self.connection.recv(1)
        self.upstream.hung_up.add(self.headers["x-agg-request-id"])
        self.close_connection = True

    def cut(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _object(self, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": self.body["model"]}

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (OSError, ValueError):  # our own cut, a peer that is gone, or one that speaks TLS
            self.close_connection = True

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _usage(words: int) -> dict[str, int]:
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": words, "total_tokens": PROMPT_TOKENS + words}


def _slow_to_begin(handler: _Handler) -> None:
    if handler.wants_stream:
        handler.begin_stream()
        handler.chunk(b": wait\n\n")
    else:
        handler.raw(b"", more=100)
    handler.until_hung_up()


def _cut_before(handler: _Handler) -> None:
    if handler.wants_stream:
        handler.begin_stream()
    else:
        handler.raw(b'{"id": "chatcmpl-1", ', more=100)
    handler.cut()


def _cut_after(handler: _Handler) -> None:
    handler.begin_stream()
    for number in range(FAULTY_WORDS):
        handler.say(f"faulty{number} ")
    handler.cut()


def _malformed(handler: _Handler) -> None:
    if handler.wants_stream:
        handler.begin_stream()
        handler.chunk(b'data: {"id": \n\ndata: [DONE]\n\n')
        handler.chunk(b"")
    else:
        handler.raw(b'{"id": "chatcmpl-1", "choices": [')


FAULTS: dict[str, Callable[[_Handler], None]] = {
    "429": lambda handler: handler.refuse(429),
    "429 with Retry-After": lambda handler: handler.refuse(429, {"retry-after": "1"}),
    "500": lambda handler: handler.refuse(500),
    "529": lambda handler: handler.refuse(529),
    "hangs": lambda handler: handler.until_hung_up(),
    "slow to begin": _slow_to_begin,
    "slow stream": lambda handler: handler.answer("faulty", FAULTY_WORDS, pause_s=SLOW_PAUSE_S),
    "cut before its first byte": _cut_before,
    "cut after its first byte": _cut_after,
    "malformed": _malformed,
    "of another type": lambda handler: handler.raw(b"<html>Back soon.</html>", kind=HTML),
}
