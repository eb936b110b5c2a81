"""The HTTP client of providers: what goes over a connection, when it is used again, and when it must not be."""

import asyncio
import gzip
import ssl
import zlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from adapters.providers import http_pool
from adapters.providers.http import ProviderHttp
from adapters.providers.http_connection import PAUSE_BYTES
from domain.errors import ProviderBroken, ProviderRefused, ProviderTimeout, ProviderUnreachable
from tests.broken_upstream import LAST_CHUNK, STREAM_HEAD, Do, answer, broken_upstream, chunk, head
from tests.caching import until
from tests.provider_server import KeepingProvider, certified, keeping_provider

LONGEST_S = 20.0
OK = answer(b"{}")
Run = Callable[[Coroutine[Any, Any, None]], None]
"""The server's event loop is not Python's own, and they differ in what they do to connections."""


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param


@asynccontextmanager
async def client_of(
    url: str, *, tls: ssl.SSLContext | None = None, read_timeout_s: float = LONGEST_S
) -> AsyncGenerator[ProviderHttp]:
    headers = {"authorization": "Bearer sk-secret", "X-Version": "7"}
    http = ProviderHttp("openai", url, headers, lambda _: None, tls=tls, read_timeout_s=read_timeout_s)
    await http.open()
    try:
        async with asyncio.timeout(LONGEST_S):
            yield http
    finally:
        await http.close()


async def ask(http: ProviderHttp, path: str = "/chat") -> bytes:
    return await http.post(path, b'{"a":1}', "req_1")


async def asked_in_turn(*answers: bytes, times: int = 2) -> tuple[KeepingProvider, list[bytes]]:
    async with keeping_provider(*answers) as provider, client_of(provider.url) as http:
        return provider, [await ask(http) for _ in range(times)]


def connections_of(provider: KeepingProvider) -> list[int]:
    return [heard.connection for heard in provider.heard]


def test_a_call_is_these_bytes_and_no_others(run: Run) -> None:
    async def call() -> None:
        async with keeping_provider(OK) as provider, client_of(f"{provider.url}/v1/") as http:
            await ask(http, "/chat/completions")
        (heard,) = provider.heard
        assert heard.body == b'{"a":1}'
        assert heard.head.split("\r\n") == [
            "POST /v1/chat/completions HTTP/1.1",
            f"host: {provider.url.removeprefix('http://')}",
            "content-type: application/json",
            "accept: */*",
            "accept-encoding: identity",
            "authorization: Bearer sk-secret",
            "x-version: 7",
            "x-agg-request-id: req_1",
            "content-length: 7",
            "",
            "",
        ]

    run(call())


def test_a_connection_is_used_again_once_its_answer_is_read(run: Run) -> None:
    async def calls() -> None:
        provider, bodies = await asked_in_turn(answer(b"1"), STREAM_HEAD + chunk(b"2") + LAST_CHUNK, OK, times=3)
        assert (connections_of(provider), bodies) == ([0, 0, 0], [b"1", b"2", b"{}"])

    run(calls())


def test_what_runs_at_once_has_a_connection_each_and_they_are_kept(run: Run) -> None:
    async def calls() -> None:
        async with keeping_provider(OK) as provider, client_of(provider.url) as http:
            await asyncio.gather(*[ask(http) for _ in range(5)])
            await asyncio.gather(*[ask(http) for _ in range(5)])
        assert sorted(connections_of(provider)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]

    run(calls())


@pytest.mark.parametrize(
    "first",
    [
        answer(b"{}", headers="connection: close\r\n"),
        OK.replace(b"HTTP/1.1", b"HTTP/1.0"),
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n!",
        OK + b"surplus",
    ],
    ids=["closed by its word", "HTTP/1.0", "an answer too many", "bytes too many"],
)
def test_a_connection_that_cannot_be_trusted_is_not_used_again(run: Run, first: bytes) -> None:
    async def calls() -> None:
        provider, bodies = await asked_in_turn(first, OK)
        assert (connections_of(provider), bodies) == ([0, 1], [b"{}", b"{}"])

    run(calls())


def test_words_that_nobody_asked_for_do_not_answer_the_next_call(run: Run) -> None:
    async def calls() -> None:
        async with keeping_provider(OK) as provider, client_of(provider.url) as http:
            await ask(http)
            provider.say(answer(b"of somebody else"))
            await until(lambda: not http.idle_connections)
            assert await ask(http) == b"{}"
        assert connections_of(provider) == [0, 1]

    run(calls())


def test_a_connection_that_the_provider_closed_is_replaced(run: Run) -> None:
    async def calls() -> None:
        async with keeping_provider(OK) as provider, client_of(provider.url) as http:
            await ask(http)
            provider.hang_up()
            await until(lambda: not http.idle_connections)
            await ask(http)
        assert connections_of(provider) == [0, 1]

    run(calls())


def test_a_refusal_leaves_its_connection_for_others(run: Run) -> None:
    async def calls() -> None:
        refusal = answer(b"{}", status=429, headers="retry-after: 7\r\n")
        async with keeping_provider(refusal, OK) as provider, client_of(provider.url) as http:
            with pytest.raises(ProviderRefused) as refused:
                await ask(http)
            await ask(http)
        assert (refused.value.status, refused.value.retry_after_s, connections_of(provider)) == (429, 7.0, [0, 0])

    run(calls())


def test_a_call_that_nobody_waits_for_closes_its_connection(run: Run) -> None:
    async def calls() -> None:
        async with keeping_provider(b"") as provider, client_of(provider.url) as http:
            call = asyncio.create_task(ask(http))
            await until(lambda: bool(provider.heard))
            call.cancel()
            await provider.closed.wait()

    run(calls())


def test_a_stream_that_is_left_closes_its_connection(run: Run) -> None:
    async def calls() -> None:
        async with keeping_provider(STREAM_HEAD + chunk(b"1")) as provider, client_of(provider.url) as http:
            async with aclosing(http.post_stream("/chat", b"{}", "req_1")) as chunks:
                assert await anext(chunks) == b"1"
            await provider.closed.wait()

    run(calls())


def test_a_stream_that_nobody_reads_stays_with_the_provider(run: Run) -> None:
    async def calls() -> None:
        size = 64 * PAUSE_BYTES
        async with (
            keeping_provider(head(f"content-length: {size}\r\n") + b"x" * size) as provider,
            client_of(provider.url) as http,
            aclosing(http.post_stream("/chat", b"{}", "req_1")) as chunks,
        ):
            sizes = [len(await anext(chunks))]
            for _ in range(50):
                await asyncio.sleep(0)
            sizes += [len(piece) async for piece in chunks]
            assert sum(sizes) == size
            assert max(sizes) <= 2 * PAUSE_BYTES

    run(calls())


def test_a_connection_whose_answer_was_left_unread_is_not_used_again(run: Run) -> None:
    """All of it is there, more than is taken at once, and so the connection rests."""

    async def calls() -> None:
        long = [PAUSE_BYTES, PAUSE_BYTES // 8]
        body = STREAM_HEAD + b"".join(chunk(b"x" * size) for size in long) + LAST_CHUNK
        async with keeping_provider(body, OK) as provider, client_of(provider.url) as http:
            async with aclosing(http.post_stream("/chat", b"{}", "req_1")) as chunks:
                await anext(chunks)
                for _ in range(50):
                    await asyncio.sleep(0.001)
            assert await ask(http) == b"{}"

    run(calls())


def test_half_an_answer_is_none_when_it_is_the_client_that_closes(run: Run) -> None:
    async def calls() -> None:
        async with keeping_provider(head("") + b'{"half":') as provider, client_of(provider.url) as http:
            call = asyncio.create_task(ask(http))
            await until(lambda: bool(provider.heard))
            await asyncio.sleep(0.01)
            await http.close()
            with pytest.raises(ProviderBroken):
                await call

    run(calls())


def test_a_refusal_whose_body_cannot_be_read_keeps_its_status(run: Run) -> None:
    async def calls() -> None:
        refusal = answer(b"?", status=429, headers="content-encoding: br\r\nretry-after: 7\r\n")
        async with keeping_provider(refusal) as provider, client_of(provider.url) as http:
            with pytest.raises(ProviderRefused) as refused:
                await ask(http)
        assert (refused.value.status, refused.value.retry_after_s) == (429, 7.0)

    run(calls())


def test_silence_is_a_timeout_and_closes_the_connection(run: Run) -> None:
    async def calls() -> None:
        async with keeping_provider(b"") as provider, client_of(provider.url, read_timeout_s=0.05) as http:
            with pytest.raises(ProviderTimeout):
                await ask(http)
            await provider.closed.wait()

    run(calls())


def test_a_provider_that_never_reads_is_a_timeout(run: Run) -> None:
    async def calls() -> None:
        held = asyncio.Event()

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await held.wait()
            writer.close()

        server = await asyncio.start_server(hold, "127.0.0.1", 0, limit=1024)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client_of(url, read_timeout_s=0.05) as http:
            with pytest.raises(ProviderTimeout):
                await http.post("/chat", b"x" * 32 * 1024 * 1024, "req_1")
        held.set()
        server.close()

    run(calls())


def test_tls_is_spoken_and_its_connection_kept(run: Run, tmp_path: Path) -> None:
    server, client = certified(tmp_path)

    async def calls() -> None:
        async with keeping_provider(OK, tls=server) as provider, client_of(provider.url, tls=client) as http:
            assert [await ask(http), await ask(http)] == [b"{}", b"{}"]
        assert connections_of(provider) == [0, 0]

    run(calls())


@pytest.mark.parametrize("trusting", [True, False], ids=["another host's", "nobody's"])
def test_a_certificate_that_does_not_hold_is_no_connection(run: Run, tmp_path: Path, trusting: bool) -> None:
    server, client = certified(tmp_path, host="127.0.0.9" if trusting else "127.0.0.1")

    async def calls() -> None:
        tls = client if trusting else None
        async with keeping_provider(OK, tls=server) as provider, client_of(provider.url, tls=tls) as http:
            with pytest.raises(ProviderUnreachable):
                await ask(http)
        assert not provider.heard

    run(calls())


def test_a_server_without_tls_behind_an_https_address_is_no_connection(run: Run) -> None:
    async def calls() -> None:
        async with broken_upstream([b"220 smtp.example ESMTP\r\n", Do.STALL]) as upstream:
            async with client_of(upstream.url.replace("http:", "https:")) as http:
                with pytest.raises(ProviderUnreachable):
                    await ask(http)
            assert upstream.asked == 0

    run(calls())


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", gzip.compress(b"words" * 9)), ("deflate", zlib.compress(b"words" * 9)), ("Identity", b"words" * 9)],
    ids=["gzip", "deflate", "identity"],
)
def test_a_compressed_answer_is_read_although_nobody_asked_for_it(run: Run, encoding: str, body: bytes) -> None:
    async def calls() -> None:
        said = answer(body, headers=f"content-encoding: {encoding}\r\n")
        async with keeping_provider(said) as provider, client_of(provider.url) as http:
            assert await ask(http) == b"words" * 9
            assert [piece async for piece in http.post_stream("/chat", b"{}", "req_1")] == [b"words" * 9]

    run(calls())


@pytest.mark.parametrize("ending", ["", "more"])
def test_a_compressed_answer_is_whole_and_nothing_more(run: Run, ending: str) -> None:
    async def calls() -> None:
        body = gzip.compress(b"words" * 9)
        said = answer(body + gzip.compress(b"!") if ending else body[:-4], headers="content-encoding: gzip\r\n")
        async with keeping_provider(said) as provider, client_of(provider.url) as http:
            with pytest.raises(ProviderBroken):
                await ask(http)

    run(calls())


def test_more_calls_than_connections_are_refused_not_queued(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_pool, "MAX_CONNECTIONS", 2)

    async def calls() -> None:
        async with keeping_provider(b"") as provider, client_of(provider.url) as http:
            under_way = [asyncio.create_task(ask(http)) for _ in range(2)]
            await until(lambda: len(provider.heard) == 2)
            with pytest.raises(ProviderUnreachable):
                await ask(http)
            for call in under_way:
                call.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    run(calls())


@pytest.mark.parametrize("secret", ["sk\r\nx-evil: 1", "sk\n", "sk\0", "sk\u20ac"])
def test_a_credential_that_would_be_more_than_its_header_is_refused_without_saying_it(secret: str) -> None:
    with pytest.raises(ValueError, match="authorization") as refused:
        ProviderHttp("openai", "http://127.0.0.1", {"authorization": secret}, lambda _: None)
    assert secret not in str(refused.value)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1", "http://", "http://:80"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://"):
        ProviderHttp("openai", url, {}, lambda _: None)


@pytest.mark.parametrize("path", ["/a b", "/a\r\nx: 1", "/ü", "/a\0"])
def test_a_path_that_would_be_more_than_its_line_is_never_sent(run: Run, path: str) -> None:
    async def calls() -> None:
        async with keeping_provider(OK) as provider, client_of(provider.url) as http:
            with pytest.raises(ProviderBroken):
                await ask(http, path)
            await ask(http)
        assert len(provider.heard) == 1

    run(calls())
