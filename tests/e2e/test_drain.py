"""An API that is told to stop: what runs ends well and is charged, what is new is sent elsewhere."""

import json
import socket
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import openai
import psutil
import pytest

from tests.e2e.people import client_of, ended_request, is_ready
from tests.e2e.running import Beside, Program, running_beside, until
from tests.e2e.wire import CHAT, Wire, code_in

ENDLESS_MS = 600_000


@pytest.fixture
def api(program: Program, grace: str) -> Generator[Beside]:
    """Beside the one whose read models tell what became of its requests."""
    with running_beside(program, "serve", AGG_DRAIN_GRACE=grace) as beside:
        until(lambda: is_ready(beside.base_url))
        yield beside


def question(*, stream: bool = False, **sim: Any) -> bytes:
    messages = [{"role": "user", "content": "Hello"}]
    return json.dumps({"model": "sim/echo", "messages": messages, "stream": stream, "sim": sim}).encode()


def is_taken(base_url: str) -> bool:
    place = urlsplit(base_url)
    with socket.socket() as probe:
        return probe.connect_ex((place.hostname, place.port)) == 0


def served(program: Program) -> int:
    return len(program.served_log.read_bytes().splitlines())


class Streamed:
    """A stream on a connection of its own, of which the beginning is there."""

    def __init__(self, wire: Wire, body: bytes) -> None:
        wire.head(len(body))
        wire.send(body)
        self.status, self._begun = wire.answer()
        self._wire = wire
        self.request_id = wire.headers[b"x-request-id"].decode()

    def whole(self) -> bytes:
        return self._begun + self._wire.rest()


def half_asked(wire: Wire, method: str, path: str) -> Callable[[], tuple[int, bytes]]:
    """A request on a connection that was used before, of which a part is under way; sends the rest and answers."""
    body = question()
    wire.head(len(body))
    wire.send(body)
    assert wire.answer()[0] == 200
    wire.send(f"{method} {path} HTTP/1.1\r\nhost: x\r\n".encode())

    def the_rest() -> tuple[int, bytes]:
        wire.send(b"content-length: 0\r\n\r\n")
        return wire.answer()

    return the_rest


@pytest.mark.parametrize("grace", ["60s"])
def test_what_runs_ends_well_and_is_charged_while_what_is_new_is_sent_elsewhere(program: Program, api: Beside) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(api.base_url, program.api_key)) for _ in range(7)]
        chat = half_asked(wires[0], "POST", CHAT)
        messages = half_asked(wires[1], "POST", "/v1/messages")
        keys = half_asked(wires[2], "GET", "/api/v1/keys")
        ready = half_asked(wires[3], "GET", "/health/ready")
        alive = half_asked(wires[4], "GET", "/health/live")
        stream = Streamed(wires[5], question(stream=True, chunks=20, chunk_ms=150))
        whole = wires[6]
        before, body = served(program), question(latency_ms=2_500)
        whole.head(len(body))
        whole.send(body)
        until(lambda: served(program) > before)

        api.ask_to_stop()
        until(lambda: not is_taken(api.base_url))
        refused = {chat: "unavailable", messages: None, keys: "unavailable"}
        for wire, (ask, code) in zip(wires, refused.items(), strict=False):
            status, said = ask()
            assert (status, wire.headers[b"retry-after"], wire.headers[b"connection"]) == (503, b"1", b"close")
            assert code is None or code_in(said) == code
            assert wire.is_closed()
        assert json.loads(ready()[1])["status"] == "stopping"
        assert alive()[0] == 200
        assert b"data: [DONE]" in stream.whole()
        status, _ = whole.answer()
        assert (status, whole.headers[b"connection"]) == (200, b"close")
        api.until_stopped()

    ends = [ended_request(program, ident) for ident in (stream.request_id, whole.headers[b"x-request-id"].decode())]
    assert [(end["status"], end["evidence"]) for end in ends] == [("completed", "reported")] * 2
    assert all(end["cost_nanos"] for end in ends)


@pytest.mark.parametrize("grace", ["500ms"])
def test_what_takes_longer_than_the_grace_is_ended_charged_and_its_client_told(program: Program, api: Beside) -> None:
    with Wire(api.base_url, program.api_key) as streaming, Wire(api.base_url, program.api_key) as whole:
        stream = Streamed(streaming, question(stream=True, chunks=20, chunk_ms=ENDLESS_MS))
        before, body = served(program), question(latency_ms=ENDLESS_MS)
        whole.head(len(body))
        whole.send(body)
        until(lambda: served(program) > before)

        api.ask_to_stop()
        told = stream.whole()
        status, said = whole.answer()
        api.until_stopped()

    assert b'"code":"unavailable"' in told
    assert b"[DONE]" not in told
    assert (status, code_in(said), whole.headers[b"x-should-retry"]) == (503, "unavailable", b"false")
    for ident in (stream.request_id, whole.headers[b"x-request-id"].decode()):
        end = ended_request(program, ident)
        assert (end["status"], end["error_kind"], end["evidence"]) == ("failed", "given_up", "estimated")
        assert end["cost_nanos"]


@pytest.mark.parametrize("grace", ["60s"])
def test_of_two_on_one_port_the_other_takes_what_is_new_and_clients_that_ask_again_notice_nothing(
    program: Program, api: Beside
) -> None:
    port = str(urlsplit(api.base_url).port)
    with running_beside(program, "serve", AGG_SERVER_PORT=port) as other, ThreadPoolExecutor(8) as threads:
        until(lambda: _both_listen(api.base_url))
        stop: Future[None] = Future()
        asking = [threads.submit(_ask_until, stop, api.base_url, program.api_key) for _ in range(8)]
        until(lambda: served(program) > 50)
        with Wire(api.base_url, program.api_key):
            api.ask_to_stop()
            api.until_stopped()
        stop.set_result(None)
        assert min(future.result() for future in asking) > 0
        for _ in range(20):
            with client_of(api.base_url, program.api_key) as client:
                assert client.post(CHAT, content=question()).status_code == 200
        assert other.is_running


def _both_listen(base_url: str) -> bool:
    """One that is not ready yet does not listen."""
    port = urlsplit(base_url).port
    listeners = [each.laddr for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    return sum(address[1:] == (port,) for address in listeners) == 2


def _ask_until(stop: Future[None], base_url: str, key: str) -> int:
    """How often, each time over a connection of its own. Raises when one call failed for good."""
    count = 0
    while not stop.done():
        with (
            openai.DefaultHttpxClient(trust_env=False) as http,
            openai.OpenAI(base_url=f"{base_url}/v1", api_key=key, http_client=http) as client,
        ):
            client.chat.completions.create(model="sim/echo", messages=[{"role": "user", "content": "Hello"}])
        count += 1
    return count
