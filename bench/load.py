"""A closed loop of clients, in a process of its own: each sends its next request when its last answer is complete.

`python -m bench.load SPEC` (JSON) warms up, says `ready`, waits for a line, measures, and says what it saw (JSON).
So whoever reads the CPU of the asked process between `ready` and the end has exactly the measured requests.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from time import perf_counter, time_ns
from typing import cast

import httptools
import msgspec
import uvloop

from bench.mock_upstream import CHUNKS, MARK

PATIENCE_S = 60.0
"""How long the last answers may take."""
QUOTED_BYTES = 160
NUMBER = "number 00000000000000000000"
"""Stands in a body; in a numbered one every request has another."""
USAGE_WORDS = (b'"completion_tokens"', b'"output_tokens"')
NUMBERS = count(time_ns())
"""Never the same again, in this run or another."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """Lasts `seconds`, or `requests` when given."""

    port: int
    path: str
    headers: dict[str, str]
    body: str
    concurrency: int
    end: str
    numbered: bool = False
    seconds: float
    warmup_s: float
    requests: int | None = None


class Seen(msgspec.Struct, kw_only=True):
    """`rate` is answers a second until the last of them; times are milliseconds of all good answers."""

    answers: int = 0
    failures: dict[str, int] = {}
    rate: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    first_p50_ms: float = 0.0


class Phase:
    """What all clients do at one time."""

    def __init__(self, seconds: float, requests: int | None) -> None:
        self.started = perf_counter()
        self.deadline = self.started + (seconds if requests is None else float("inf"))
        self._left = sys.maxsize if requests is None else requests
        self.durations: list[float] = []
        self.firsts: list[float] = []
        self.failures: Counter[str] = Counter()
        self.last = self.started

    def goes_on(self) -> bool:
        self._left -= 1
        return self._left >= 0 and perf_counter() < self.deadline

    def seen(self) -> Seen:
        elapsed = self.last - self.started
        return Seen(
            answers=len(self.durations),
            failures=dict(self.failures.most_common(5)),
            rate=len(self.durations) / elapsed if elapsed else 0.0,
            p50_ms=percentile(self.durations, 0.50) * 1000,
            p99_ms=percentile(self.durations, 0.99) * 1000,
            first_p50_ms=percentile(self.firsts, 0.50) * 1000,
        )


class Client(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self, spec: Spec, request: bytes) -> None:
        self._spec = spec
        self._request = request
        self._numbers = NUMBERS if spec.numbered else None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._sent = 0.0
        self._first = 0.0
        self._phase: Phase | None = None
        self._idle: asyncio.Future[None] | None = None

    async def run(self, phase: Phase) -> None:
        """Ask until the phase is over and the last answer is there."""
        loop = asyncio.get_running_loop()
        while True:
            if self._transport is None:
                try:
                    await loop.create_connection(lambda: self, "127.0.0.1", self._spec.port)
                except OSError as failure:
                    phase.failures[type(failure).__name__] += 1
                    return
            self._phase, self._idle = phase, loop.create_future()
            self._next()
            await self._idle
            if self._transport is not None:
                return

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's classes
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._phase is not None:
            self._phase.failures["connection lost"] += 1
            self._rest()

    def data_received(self, data: bytes) -> None:
        if not self._first:
            self._first = perf_counter()
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        phase = self._phase
        if phase is None:
            return
        now = perf_counter()
        wrong = what_is_wrong(self._parser.get_status_code(), b"".join(self._body), end=self._spec.end)
        if wrong:
            phase.failures[wrong] += 1
        else:
            phase.durations.append(now - self._sent)
            phase.firsts.append(self._first - self._sent)
            phase.last = now
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.abort()
            self._transport = None
            self._rest()
            return
        self._next()

    def _next(self) -> None:
        assert self._phase is not None
        if self._transport is None or not self._phase.goes_on():
            self._rest()
            return
        self._body = []
        self._first = 0.0
        self._sent = perf_counter()
        self._transport.write(self._request if self._numbers is None else _numbered(self._request, self._numbers))

    def _rest(self) -> None:
        self._phase = None
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)


def what_is_wrong(status: int, body: bytes, *, end: str) -> str:
    """Nothing, or in a few words why this is not the upstream's complete answer, with its usage and its `end`."""
    if status != 200:
        return f"status {status}: {body[:QUOTED_BYTES].decode(errors='replace')}"
    if body.count(MARK.encode()) != CHUNKS or not any(word in body for word in USAGE_WORDS):
        return f"incomplete: {body[-QUOTED_BYTES:].decode(errors='replace')}"
    if not body.endswith(end.encode()):
        return f"no end mark: {body[-QUOTED_BYTES:].decode(errors='replace')}"
    return ""


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def request_bytes(spec: Spec) -> bytes:
    body = spec.body.encode()
    headers = {"host": f"127.0.0.1:{spec.port}", "content-type": "application/json", **spec.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {spec.path} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


def _numbered(request: bytes, numbers: Iterator[int]) -> bytes:
    return request.replace(NUMBER.encode(), b"number %020d" % next(numbers))


async def run(clients: list[Client], phase: Phase, limit_s: float) -> Seen:
    tasks = [asyncio.create_task(client.run(phase)) for client in clients]
    _, late = await asyncio.wait(tasks, timeout=limit_s)
    for task in late:
        task.cancel()
        phase.failures["no answer"] += 1
    return phase.seen()


async def main(spec: Spec) -> None:
    request = request_bytes(spec)
    clients = [Client(spec, request) for _ in range(spec.concurrency)]
    warm = await run(clients, Phase(spec.warmup_s, None), spec.warmup_s + PATIENCE_S)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    limit_s = PATIENCE_S * 60 if spec.requests else spec.seconds + PATIENCE_S
    seen = await run(clients, Phase(spec.seconds, spec.requests), limit_s)
    print(msgspec.json.encode({"warm": warm, "seen": seen}).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Spec)))
