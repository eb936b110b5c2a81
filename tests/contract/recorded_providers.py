"""Every provider behind its own words, with answers from files: what they say, and what it amounts to."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec

from adapters.dialects.dialect import ChatDialect
from adapters.providers.http import ProviderHttp
from adapters.providers.http_provider import HttpProvider, Speech
from api import providers
from api.ai_routes import DIALECTS
from domain.answer import FinishReason
from domain.ids import RequestId
from domain.pricing import Tokens
from domain.upstream import Endpoint, ProviderCall, Reply, ReplyPiece

FIXTURES = Path(__file__).parents[1] / "fixtures"
CHUNK_BYTES = 97
"""Of a stream: reads of a connection end anywhere."""
SPEECHES: dict[str, tuple[Speech, str]] = {
    "openai": (providers.OPENAI, "gpt-6"),
    "compatible": (providers.COMPATIBLE, "qwen-4"),
    "anthropic": (providers.ANTHROPIC, "claude-opus-5"),
    "google": (providers.GOOGLE, "gemini-3-flash"),
    "cohere": (providers.COHERE, "command-a"),
}
CHAT_ENDPOINTS: tuple[Endpoint, ...] = ("chat.completions", "completions", "responses", "messages")
ASKED: dict[str, dict[str, Any]] = {
    "chat.completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "completions": {"prompt": "Hi"},
    "responses": {"input": "Hi"},
    "messages": {"max_tokens": 9_000, "messages": [{"role": "user", "content": "Hi"}]},
    "embeddings": {"input": ["a", "b"]},
}


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """`words` are text and refusal. What a provider that lacks something says, it says otherwise: no file, no case."""

    words: str = ""
    thinking: str = ""
    tools: tuple[tuple[str, dict[str, Any]], ...] = ()
    finish: FinishReason = "stop"


CLOCK, SUN = ("clock", {"city": "Köln"}), ("sun", {})
THOUGHT = "The user greets. I greet back."
FEATURES: dict[str, Expected] = {
    "text": Expected(words="Hello there, wörld ✓"),
    "one_tool": Expected(tools=(CLOCK,), finish="tool_calls"),
    "parallel_tools": Expected(tools=(CLOCK, SUN), finish="tool_calls"),
    "tool_beside_text": Expected(words="Let me look.", tools=(CLOCK,), finish="tool_calls"),
    "thinking": Expected(thinking=THOUGHT, words="Hello!"),
    "thinking_and_tools": Expected(thinking=THOUGHT, words="Let me look.", tools=(CLOCK, SUN), finish="tool_calls"),
    "refusal": Expected(words="I cannot help with that."),
    "content_filter": Expected(words="Once", finish="content_filter"),
    "length": Expected(words="Once upon a", finish="length"),
    "stop_sequence": Expected(words="one, two, "),
    "structured": Expected(words='{"city":"Köln","people":1090000}'),
    "usage": Expected(words="Hi."),
    "logprobs": Expected(words="Hi there"),
}
OTHERWISE: dict[tuple[str, str], Expected] = {
    ("anthropic", "refusal"): Expected(words="I cannot help with that.", finish="refusal"),
    ("anthropic", "stop_sequence"): Expected(words="one, two, ", finish="stop_sequence"),
    ("cohere", "stop_sequence"): Expected(words="one, two, ", finish="stop_sequence"),
    ("google", "refusal"): Expected(finish="content_filter"),
}
TOKENS = Tokens(input=12, output=5)
OTHER_TOKENS: dict[tuple[str, str], Tokens] = {
    ("openai", "usage"): Tokens(input=20, cached_input=30, cache_write_5m=10, output=7, reasoning=8),
    ("compatible", "usage"): Tokens(input=20, cached_input=30, cache_write_5m=10, output=7, reasoning=8),
    ("anthropic", "usage"): Tokens(
        input=20, cached_input=30, cache_write_5m=6, cache_write_1h=4, output=7, reasoning=8
    ),
    ("google", "usage"): Tokens(input=30, cached_input=30, output=7, reasoning=8),
    ("google", "refusal"): Tokens(input=12),
    ("cohere", "usage"): Tokens(input=60, output=15),
}


class RecordedHttp(ProviderHttp):
    """Answers with a file, whole or in chunks."""

    def __init__(self, provider: str, body: bytes) -> None:
        super().__init__(provider, "http://recorded", {}, lambda _: None)
        self._body = body
        self.sent: list[bytes] = []

    async def post(self, path: str, body: bytes, request_id: str) -> bytes:
        self.sent.append(body)
        return self._body

    async def post_stream(self, path: str, body: bytes, request_id: str) -> AsyncGenerator[bytes]:
        self.sent.append(body)
        for start in range(0, len(self._body), CHUNK_BYTES):
            yield self._body[start : start + CHUNK_BYTES]


def expected(provider: str, feature: str) -> Expected:
    return OTHERWISE.get((provider, feature), FEATURES[feature])


def expected_tokens(provider: str, feature: str) -> Tokens:
    return OTHER_TOKENS.get((provider, feature), TOKENS)


def is_passed_through(provider: str, endpoint: Endpoint) -> bool:
    return endpoint in SPEECHES[provider][0].passthroughs


def recording(provider: str, endpoint: Endpoint, feature: str, *, stream: bool) -> Path:
    """What passes through has the format of the endpoint, everything else that of the provider's chats."""
    folder = provider
    if is_passed_through(provider, endpoint) and endpoint in ("completions", "responses"):
        folder = f"openai_{endpoint}"
    return FIXTURES / folder / f"{feature}.{'sse' if stream else 'json'}"


def dialect_of(endpoint: Endpoint) -> ChatDialect:
    return DIALECTS.chat[endpoint]


def call(provider: str, endpoint: Endpoint, *, stream: bool, **said: Any) -> ProviderCall:
    """As a client's request becomes one."""
    members = {"model": "ours", **ASKED[endpoint], **said}
    if stream:
        members["stream"] = True
        if endpoint in ("chat.completions", "completions"):
            members["stream_options"] = {"include_usage": True}
    body = msgspec.json.encode(members)
    dialect = DIALECTS.embeddings if endpoint == "embeddings" else dialect_of(endpoint)
    request = dialect.check(body)
    return ProviderCall(
        request_id=RequestId("req_0190d3a5000170018203040506070809"),
        endpoint=endpoint,
        upstream_model=SPEECHES[provider][1],
        members=request.members,
        stream=request.stream,
        include_usage=request.include_usage,
        drop_params=False,
        input_estimate=request.input_estimate(),
        max_output_tokens=9_000,
    )


def provider_answering(provider: str, body: bytes) -> HttpProvider:
    return HttpProvider(RecordedHttp(provider, body), SPEECHES[provider][0], DIALECTS)


async def completed(provider: str, asked: ProviderCall, body: bytes) -> Reply:
    return await provider_answering(provider, body).prepare(asked).complete()


async def streamed(provider: str, asked: ProviderCall, body: bytes) -> list[ReplyPiece]:
    return [piece async for piece in provider_answering(provider, body).prepare(asked).stream()]
