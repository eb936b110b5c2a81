"""An upstream that costs almost nothing: OpenAI's chat completions, whole (1 KB) or as a stream of 50 chunks.

`python -m bench.mock_upstream` prints its port and serves until it is stopped. A prompt that contains `interval_ms=10`
has its chunks 10 ms apart, any other in one burst; one with `think_ms=50` is answered, whole, after 25 to 75 ms,
evenly spread so that clients do not march in step. GET answers how many completions were asked for and answered whole.
"""

import asyncio
import contextlib
import re
from typing import cast

import httptools
import msgspec
import uvloop

CHUNKS = 50
INPUT_TOKENS = 12
MARK = "zq"
"""Stands once in each word of an answer and nowhere else."""
WORD = MARK + "%02d "
USAGE = {
    "prompt_tokens": INPUT_TOKENS,
    "completion_tokens": CHUNKS,
    "total_tokens": INPUT_TOKENS + CHUNKS,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
IDENTITY = {"id": "chatcmpl-bench", "created": 1_780_000_000, "model": "gpt-4o-mini", "system_fingerprint": "fp_bench"}
GOLDEN_RATIO = 0.618033988749895
WHOLE_BYTES = 1024
PADDING = "lorem ipsum dolor sit amet "

_STREAM = re.compile(rb'"stream" ?: ?true')
_INTERVAL = re.compile(rb"interval_ms=(\d+)")
_THINK = re.compile(rb"think_ms=(\d+)")


def _completion() -> bytes:
    words = "".join(WORD % number for number in range(CHUNKS))
    short = _encoded_completion(words)
    return _encoded_completion((PADDING * 40)[: WHOLE_BYTES - len(short)] + words)


def _encoded_completion(text: str) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    return msgspec.json.encode({**IDENTITY, "object": "chat.completion", "choices": [choice], "usage": USAGE})


def _event(delta: dict[str, str] | None, *, finish: str | None = None) -> bytes:
    """One server-sent event; without a delta the one that carries the usage."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    usage = USAGE if delta is None else None
    chunk = {**IDENTITY, "object": "chat.completion.chunk", "choices": choices, "usage": usage}
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


COMPLETION = _whole(_completion())
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = [_framed(_event({"content": WORD % number})) for number in range(CHUNKS)]
TAIL = b"".join(map(_framed, (_event({}, finish="stop"), _event(None), b"data: [DONE]\n\n"))) + b"0\r\n\r\n"
BURST = HEAD + b"".join(EVENTS) + TAIL


class Counts(msgspec.Struct):
    asked: int = 0
    answered: int = 0


class Upstream(asyncio.Protocol):
    """One connection."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's classes

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, body: bytes) -> None:
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        body = self._body
        if self._parser.get_method() == b"GET":
            self._write(_whole(msgspec.json.encode(self._counts)))
            return
        self._counts.asked += 1
        if think := _THINK.search(body):
            delay_s = int(think[1]) / 1000 * (0.5 + self._counts.asked * GOLDEN_RATIO % 1)
            asyncio.get_running_loop().call_later(delay_s, self._finish, COMPLETION)
        elif not _STREAM.search(body):
            self._finish(COMPLETION)
        elif interval := _INTERVAL.search(body):
            self._write(HEAD)
            self._chunk(0, int(interval[1]) / 1000, asyncio.get_running_loop())
        else:
            self._finish(BURST)

    def _chunk(self, number: int, interval_s: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._transport is None:
            return
        if number < CHUNKS:
            self._write(EVENTS[number])
            loop.call_later(interval_s, self._chunk, number + 1, interval_s, loop)
        else:
            self._finish(TAIL)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _finish(self, data: bytes) -> None:
        self._counts.answered += 1
        self._write(data)


async def main() -> None:
    counts = Counts()
    server = await asyncio.get_running_loop().create_server(lambda: Upstream(counts), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
