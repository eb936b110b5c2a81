"""Of a client's headers nothing reaches a provider, of a provider's nothing reaches a client, and where a request goes
is not the client's to say. These are lists of what may pass, so that whatever somebody adds must be added here."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest

from adapters.providers.http import ProviderHttp
from adapters.providers.http_provider import HttpProvider
from api.ai_routes import DIALECTS
from tests.ai_route import Client, Gateway
from tests.broken_upstream import answer, streamed
from tests.provider_server import KeepingProvider, keeping_provider
from tests.provider_ways import HANG_S, VENDORS, Way
from tests.vendor_wires import Anthropic, Cohere, Gemini, OpenAIChat, Wire, good_stream, good_whole

WIRES: dict[str, Wire] = {
    "openai": OpenAIChat(),
    "compatible": OpenAIChat(),
    "anthropic": Anthropic(),
    "google": Gemini(),
    "cohere": Cohere(),
}
WAYS = [
    Way(VENDORS[name], endpoint, wire, stream)
    for name, wire in WIRES.items()
    for endpoint in ("chat.completions", "messages")
    for stream in (False, True)
]
every_way = pytest.mark.parametrize("way", WAYS, ids=str)

TO_PROVIDERS = {"host", "accept", "accept-encoding", "content-type", "content-length", "x-agg-request-id"}
"""And the vendor's own credentials."""
TO_CLIENTS = {
    b"content-type",
    b"x-request-id",
    b"x-agg-provider",
    b"x-agg-model",
    b"x-agg-cache",
    b"x-agg-attempts",
    b"x-agg-position",
}
OF_WHOLE_ANSWERS = {b"content-length", b"x-agg-cost-usd"}
OF_STREAMS = {b"cache-control", b"x-accel-buffering"}

FROM_CLIENT = [
    (b"authorization", b"Bearer agg_live_the-callers-own"),
    (b"x-api-key", b"agg_live_the-callers-own"),
    (b"cookie", b"session=the-callers-own"),
    (b"host", b"evil.example"),
    (b"x-forwarded-for", b"10.1.2.3"),
    (b"forwarded", b"for=10.1.2.3"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"user-agent", b"the-callers-own"),
    (b"openai-organization", b"org-the-callers-own"),
    (b"anthropic-beta", b"computer-use-2024-10-22"),
    (b"x-goog-api-key", b"the-callers-own"),
    (b"x-base-url", b"https://evil.example"),
    (b"accept-encoding", b"br"),
    (b"x-anything", b"the-callers-own"),
]
FROM_PROVIDER = "".join(
    f"{name}: the-providers-own\r\n"
    for name in (
        "set-cookie",
        "server",
        "openai-organization",
        "anthropic-organization-id",
        "x-request-id",
        "request-id",
        "location",
        "access-control-allow-origin",
        "strict-transport-security",
        "x-ratelimit-remaining-requests",
        "x-agg-cost-usd",
        "idempotency-replayed",
        "x-anything",
    )
)


@asynccontextmanager
async def served(way: Way, client: Client, said: bytes) -> AsyncGenerator[KeepingProvider]:
    """One request with all of these headers, to a provider that says this."""
    async with asyncio.timeout(HANG_S), keeping_provider(said) as provider:
        vendor = way.vendor
        http = ProviderHttp(vendor.name, provider.url, vendor.headers, vendor.read_error)
        await http.open()
        try:
            gateway = Gateway(cast(Any, HttpProvider(http, vendor.speech, DIALECTS)), way.endpoint)
            await gateway.ask(client, FROM_CLIENT)
        finally:
            await http.close()
        yield provider


def said_by(way: Way) -> bytes:
    if way.stream:
        head, gap, rest = streamed(*good_stream(way.wire)).partition(b"\r\n")
        return head + gap + FROM_PROVIDER.encode() + rest
    return answer(good_whole(way.wire), headers=f"content-type: application/json\r\n{FROM_PROVIDER}")


@every_way
async def test_a_provider_hears_our_headers_and_none_of_the_clients(way: Way) -> None:
    async with served(way, Client(way.endpoint, stream=way.stream), said_by(way)) as provider:
        (heard,) = provider.heard

    lines = [line.partition(": ") for line in heard.head.strip().split("\r\n")[1:]]
    headers = {name.lower(): value for name, _, value in lines}
    assert headers.keys() - TO_PROVIDERS == way.vendor.headers.keys()
    assert headers.items() >= way.vendor.headers.items()
    assert headers["host"] == provider.url.removeprefix("http://")
    assert "the-callers-own" not in heard.head + heard.body.decode()
    assert "evil" not in heard.head


@every_way
async def test_a_client_is_told_our_headers_and_none_of_the_providers(way: Way) -> None:
    client = Client(way.endpoint, stream=way.stream)

    async with served(way, client, said_by(way)):
        pass

    assert client.status == 200
    assert client.headers.keys() == TO_CLIENTS | (OF_STREAMS if way.stream else OF_WHOLE_ANSWERS)
    assert b"the-providers-own" not in b"".join(client.headers.values()) + client.body


@every_way
async def test_a_refusal_tells_none_of_the_providers_headers_but_how_long_to_wait(way: Way) -> None:
    client = Client(way.endpoint, stream=way.stream)
    refusal = answer(b'{"error": {"message": "Not now."}}', status=429, headers=f"retry-after: 7\r\n{FROM_PROVIDER}")

    async with served(way, client, refusal):
        pass

    ours = TO_CLIENTS | OF_WHOLE_ANSWERS | {b"retry-after"}
    if way.endpoint == "messages":
        ours |= {b"request-id"}
    assert client.status == 429
    assert client.headers.keys() == ours
    assert client.headers[b"retry-after"] == b"7"
    assert b"the-providers-own" not in b"".join(client.headers.values()) + client.body


NAMES = ("api_base", "base_url", "api_url", "endpoint", "custom_llm_provider", "azure_endpoint", "proxy")
ADDRESSES = dict.fromkeys(NAMES, "https://evil.example/v1")


@pytest.mark.parametrize("name", WIRES)
async def test_bug_a_caller_chose_where_a_request_and_its_key_went(name: str) -> None:
    """A member such as `api_base` made gateways send their own key to whoever asked for it."""
    way = Way(VENDORS[name], "chat.completions", WIRES[name])
    client = Client(stream=False)
    asked = {**msgspec.json.decode(client.request_body), **ADDRESSES, "drop_params": True}
    client.request_body = msgspec.json.encode(asked)

    async with served(way, client, said_by(way)) as provider:
        (heard,) = provider.heard

    assert client.status == 200
    assert "evil" not in heard.head
