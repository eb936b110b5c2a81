"""Every way from a client's endpoint to a vendor over a real socket, and what must hold however the answer breaks."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec

from adapters.providers import anthropic, gemini
from adapters.providers.cohere.errors import read_error as read_cohere_error
from adapters.providers.http import ProviderHttp, ReadError
from adapters.providers.http_provider import HttpProvider, Speech
from adapters.providers.openai.errors import read_error as read_openai_error
from api.ai_routes import DIALECTS
from api.providers import ANTHROPIC, COHERE, COMPATIBLE, GOOGLE, OPENAI
from commands.answer_request import Running
from domain.errors import ProviderError
from domain.pricing import Tokens, cost_nanos
from domain.request import RequestCompleted, RequestEnd, RequestFailed
from domain.upstream import Endpoint, Reply, ReplyPiece
from tests.answering import RATES, House
from tests.broken_upstream import Step, answer, broken_upstream
from tests.vendor_wires import Anthropic, Cohere, Gemini, OpenAIChat, OpenAIResponses, OpenAIText, Wire

SECRET = "sk-very-secret-0123456789"
HANG_S = 20
"""Far beyond what any of this takes: only there to name what hangs."""


class Vendor(msgspec.Struct, frozen=True):
    name: str
    speech: Speech
    headers: Mapping[str, str]
    read_error: ReadError


BEARER = {"authorization": f"Bearer {SECRET}"}
VENDORS = {
    "openai": Vendor("openai", OPENAI, BEARER, read_openai_error),
    "compatible": Vendor("compatible", COMPATIBLE, BEARER, read_openai_error),
    "anthropic": Vendor("anthropic", ANTHROPIC, {**anthropic.HEADERS, "x-api-key": SECRET}, anthropic.read_error),
    "google": Vendor("google", GOOGLE, {"x-goog-api-key": SECRET}, gemini.read_error),
    "cohere": Vendor("cohere", COHERE, BEARER, read_cohere_error),
}


class Way(msgspec.Struct, frozen=True):
    vendor: Vendor
    endpoint: Endpoint
    wire: Wire
    stream: bool = False

    def __str__(self) -> str:
        return f"{self.vendor.name}-{self.endpoint}-{'stream' if self.stream else 'whole'}"


ASKED: Mapping[Endpoint, dict[str, Any]] = {
    "chat.completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "completions": {"prompt": "Hi"},
    "messages": {"max_tokens": 500, "messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"input": "Hi"},
    "embeddings": {"input": ["a", "b"], "encoding_format": "float"},
}
WELL_ENDED: Mapping[Endpoint, bytes] = {
    "chat.completions": b"data: [DONE]",
    "completions": b"data: [DONE]",
    "messages": b"event: message_stop",
    "responses": b"event: response.completed",
}
CHATS: tuple[Endpoint, ...] = ("chat.completions", "completions", "messages", "responses")


def _ways() -> list[Way]:
    own: dict[tuple[str, Endpoint], Wire] = {
        ("openai", "completions"): OpenAIText(),
        ("openai", "responses"): OpenAIResponses(),
        ("compatible", "completions"): OpenAIText(),
    }
    usual: dict[str, Wire] = {
        "openai": OpenAIChat(),
        "compatible": OpenAIChat(),
        "anthropic": Anthropic(),
        "google": Gemini(),
        "cohere": Cohere(),
    }
    return [
        Way(vendor, endpoint, own.get((name, endpoint), usual[name]))
        for name, vendor in VENDORS.items()
        for endpoint in CHATS
        if name != "compatible" or endpoint == "responses"
    ]


WHOLES = _ways()
STREAMS = [msgspec.structs.replace(way, stream=True) for way in WHOLES]
EMBEDDINGS = [Way(VENDORS[name], "embeddings", OpenAIChat()) for name in ("openai", "google", "cohere")]
WAYS = [*WHOLES, *STREAMS]


class Outcome(msgspec.Struct):
    """How one request ended."""

    way: Way
    running: Running
    end: RequestEnd
    asked: int
    reserved: int
    error: Exception | None
    reply: Reply | None
    pieces: list[ReplyPiece]

    @property
    def data(self) -> bytes:
        return b"".join(piece.data for piece in self.pieces)

    @property
    def closing(self) -> bytes:
        return b"".join(piece.closing for piece in self.pieces)


class OneProvider:
    """A worker whose only provider is at this address."""

    def __init__(self, way: Way, url: str, read_timeout_s: float) -> None:
        vendor = way.vendor
        self.http = ProviderHttp(vendor.name, url, vendor.headers, vendor.read_error, read_timeout_s=read_timeout_s)
        self._way = way
        self._house = House(cast(Any, HttpProvider(self.http, vendor.speech, DIALECTS)))

    async def ask(self) -> tuple[Running, Exception | None, Reply | None, list[ReplyPiece]]:
        running = await self._house.admit(
            endpoint=self._way.endpoint,
            stream=self._way.stream,
            include_usage=self._way.stream,
            members=_members(self._way),
            max_output_tokens=0 if self._way.endpoint == "embeddings" else 500,
        )
        pieces: list[ReplyPiece] = []
        try:
            if not self._way.stream:
                return running, None, await self._house.handler.complete(running), pieces
            async for piece in self._house.handler.stream(running):
                pieces.append(piece)
        except ProviderError as error:
            return running, error, None, pieces
        return running, None, None, pieces

    @property
    def ends(self) -> list[RequestEnd]:
        return [event for event in self._house.requests.events if isinstance(event, RequestEnd)]

    @property
    def reserved(self) -> int:
        return self._house.reserved


@asynccontextmanager
async def one_provider(way: Way, url: str, *, read_timeout_s: float = HANG_S) -> AsyncGenerator[OneProvider]:
    provider = OneProvider(way, url, read_timeout_s)
    await provider.http.open()
    try:
        yield provider
    finally:
        await provider.http.close()


async def answered(way: Way, *script: Step, read_timeout_s: float = HANG_S) -> Outcome:
    """One request to a provider that plays the script. What must always hold is looked at here."""
    async with (
        asyncio.timeout(HANG_S),
        broken_upstream(script) as upstream,
        one_provider(way, upstream.url, read_timeout_s=read_timeout_s) as provider,
    ):
        running, error, reply, pieces = await provider.ask()
    (end,) = provider.ends
    outcome = Outcome(way, running, end, upstream.asked, provider.reserved, error, reply, pieces)
    assert_it_holds(outcome)
    return outcome


async def answered_whole(way: Way, body: bytes) -> Outcome:
    return await answered(way, answer(body))


def assert_it_holds(outcome: Outcome) -> None:
    end = outcome.end
    assert (outcome.asked, outcome.reserved, outcome.running.end) == (1, 0, end)
    assert end.cost_nanos >= 0
    if end.evidence == "none":
        assert (end.cost_nanos, end.tokens) == (0, Tokens())
    if end.evidence == "estimated":
        assert 0 < end.cost_nanos <= outcome.running.reservation.amount_nanos
    if end.evidence == "reported":
        assert end.cost_nanos == cost_nanos(end.tokens, RATES)
    assert min(msgspec.structs.astuple(end.tokens)) >= 0
    assert msgspec.json.decode(msgspec.json.encode(end), type=type(end)) == end
    for told in (outcome.data + outcome.closing).decode().split("\n\n"):
        assert_is_an_event(told)
    if outcome.error is None:
        _assert_success(outcome, end)
    else:
        _assert_failure(outcome, end, outcome.error)


def assert_is_an_event(told: str) -> None:
    """As clients read it: JSON, but for the one word that is none."""
    assert "\r" not in told
    lines = [line.removeprefix("data:") for line in told.split("\n") if not line.startswith("event: ")]
    if data := "\n".join(lines).strip():
        assert data == "[DONE]" or isinstance(msgspec.json.decode(data), dict)


def _assert_success(outcome: Outcome, end: RequestEnd) -> None:
    assert isinstance(end, RequestCompleted)
    assert end.evidence in ("reported", "estimated")
    if outcome.reply is not None:
        assert isinstance(msgspec.json.decode(outcome.reply.body), dict)
        return
    kind = WELL_ENDED[outcome.way.endpoint]
    assert kind in outcome.closing or b"event: response.incomplete" in outcome.closing
    assert kind not in outcome.data


def _assert_failure(outcome: Outcome, end: RequestEnd, error: Exception) -> None:
    assert isinstance(end, RequestFailed)
    assert str(error)
    assert "could not be understood" not in str(error)
    assert SECRET not in f"{error} {vars(error)} {end.message}"
    if outcome.way.stream:
        assert WELL_ENDED[outcome.way.endpoint] not in outcome.data
    if not outcome.running.delivered_chars and not any(piece.usage for piece in outcome.pieces):
        assert (end.cost_nanos, end.evidence) == (0, "none")


def _members(way: Way) -> dict[str, msgspec.Raw]:
    asked: dict[str, Any] = {"model": "m", **ASKED[way.endpoint], **({"stream": True} if way.stream else {})}
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in asked.items()}
