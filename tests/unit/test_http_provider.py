"""A provider behind HTTP: what its answers become, passed through and translated, however they arrive or break."""

from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.http import ProviderHttp
from adapters.providers.http_provider import HttpProvider, Speech
from adapters.providers.openai.errors import read_error
from api.ai_routes import DIALECTS
from api.providers import ANTHROPIC, GOOGLE, OPENAI
from domain.errors import ProviderBroken, UnsupportedParameter
from domain.ids import RequestId
from domain.pricing import Tokens
from domain.upstream import Endpoint, ProviderCall, Reply, ReplyPiece

FIXTURES = Path(__file__).parents[1] / "fixtures" / "openai"
SECRET = "sk-very-secret"
STREAMED = Tokens(input=15, cached_input=4, output=7, reasoning=3)
ENDPOINTS: tuple[Endpoint, ...] = ("chat.completions", "messages", "responses")
"""The first passes through to OpenAI; the others are translated here, whatever OpenAI itself has."""
SPEECH = Speech(passthroughs={"chat.completions": OPENAI.passthroughs["chat.completions"]}, chat=OPENAI.chat)
ASKED: dict[str, dict[str, Any]] = {
    "chat.completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "messages": {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"input": "Hi"},
    "embeddings": {"input": ["a", "b"]},
}
WELL_ENDED = {
    "chat.completions": b"data: [DONE]\n\n",
    "messages": b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    "responses": b"event: response.completed",
}


class Recorded(ProviderHttp):
    """Answers with what was recorded, in the given chunks."""

    def __init__(self, *chunks: bytes) -> None:
        super().__init__("openai", "http://recorded", {"authorization": f"Bearer {SECRET}"}, read_error)
        self._chunks = chunks
        self.sent: list[tuple[str, dict[str, Any]]] = []

    async def post(self, path: str, body: bytes, request_id: str) -> bytes:
        self.sent.append((path, msgspec.json.decode(body)))
        return b"".join(self._chunks)

    async def post_stream(self, path: str, body: bytes, request_id: str) -> AsyncGenerator[bytes]:
        self.sent.append((path, msgspec.json.decode(body)))
        for chunk in self._chunks:
            yield chunk


def recorded(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def call(endpoint: Endpoint = "chat.completions", *, stream: bool = False, **members: Any) -> ProviderCall:
    named: dict[str, Any] = {"model": "m", **({"stream": True} if stream else {}), **ASKED[endpoint], **members}
    drop = named.pop("drop_params", False)
    return ProviderCall(
        request_id=RequestId("req_0190d3a5000170018203040506070809"),
        endpoint=endpoint,
        upstream_model="upstream",
        members={name: msgspec.Raw(msgspec.json.encode(value)) for name, value in named.items()},
        stream=stream,
        include_usage=endpoint != "chat.completions",
        drop_params=drop,
        input_estimate=5,
        max_output_tokens=100,
    )


async def complete(body: bytes, endpoint: Endpoint = "chat.completions") -> Reply:
    return await HttpProvider(Recorded(body), SPEECH, DIALECTS).prepare(call(endpoint)).complete()


async def stream(*chunks: bytes, endpoint: Endpoint = "chat.completions") -> list[ReplyPiece]:
    prepared = HttpProvider(Recorded(*chunks), SPEECH, DIALECTS).prepare(call(endpoint, stream=True))
    return [piece async for piece in prepared.stream()]


async def cut_stream(
    *chunks: bytes, endpoint: Endpoint = "chat.completions"
) -> tuple[list[ReplyPiece], ProviderBroken]:
    """What came before it broke, and how it broke."""
    pieces: list[ReplyPiece] = []
    with pytest.raises(ProviderBroken) as broken:
        prepared = HttpProvider(Recorded(*chunks), SPEECH, DIALECTS).prepare(call(endpoint, stream=True))
        async for piece in prepared.stream():
            pieces.append(piece)
    return pieces, broken.value


def joined(pieces: list[ReplyPiece]) -> tuple[object, ...]:
    return (
        b"".join(piece.data for piece in pieces),
        b"".join(piece.closing for piece in pieces),
        sum(piece.output_chars for piece in pieces),
        [piece.finish_reason for piece in pieces if piece.finish_reason],
        [piece.usage.tokens for piece in pieces if piece.usage][-1:],
    )


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_whatever_the_client_speaks_the_account_is_the_same(endpoint: Endpoint) -> None:
    reply = await complete(recorded("plain.json"), endpoint)

    assert (reply.model, reply.finish_reason, reply.output_chars) == ("gpt-4.1-2025-04-14", "stop", 22)
    assert reply.usage is not None
    assert (reply.usage.tokens, bytes(reply.usage.raw) in recorded("plain.json")) == (Tokens(input=19, output=10), True)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_stream_ends_with_its_usage_and_keeps_its_good_end_for_the_close(endpoint: Endpoint) -> None:
    data, closing, chars, finish, usage = joined(await stream(recorded("stream_usage.sse"), endpoint=endpoint))

    assert (chars, finish, usage) == (11, ["stop"], [STREAMED])
    assert isinstance(data, bytes)
    assert isinstance(closing, bytes)
    assert closing.startswith(WELL_ENDED[endpoint])
    assert WELL_ENDED[endpoint] not in data


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"{}", b'{"error":"overloaded"}', b"\xff"])
async def test_what_is_no_answer_is_a_broken_answer(body: bytes, endpoint: Endpoint) -> None:
    with pytest.raises(ProviderBroken):
        await complete(body, endpoint)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_providers_words_never_carry_our_credentials(endpoint: Endpoint) -> None:
    with pytest.raises(ProviderBroken) as broken:
        await complete(msgspec.json.encode({"error": {"message": f"Bad key {SECRET}."}}), endpoint)

    assert str(broken.value) == "Bad key ***."


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@given(place=st.integers(0, 5_000))
async def test_wherever_a_stream_is_cut_it_is_no_normal_end(place: int, endpoint: Endpoint) -> None:
    whole = recorded("stream_usage.sse")

    pieces, _ = await cut_stream(whole[: place % whole.index(b"DONE]")], endpoint=endpoint)

    assert not any(piece.closing for piece in pieces)


async def test_an_end_mark_without_its_blank_line_is_an_end() -> None:
    whole = recorded("stream_usage.sse")

    assert joined(await stream(whole[:-1])) == joined(await stream(whole[:-2])) == joined(await stream(whole))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    ("name", "words"),
    [("stream_error_event.sse", "The server had an error"), ("stream_error_beside_choices.sse", "disconnected")],
)
async def test_an_error_in_the_middle_of_a_stream_breaks_it_after_what_came_before(
    name: str, words: str, endpoint: Endpoint
) -> None:
    pieces, broken = await cut_stream(recorded(name), endpoint=endpoint)

    assert [piece.output_chars for piece in pieces] == [5]
    assert words in str(broken)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@given(
    places=st.lists(st.integers(0, 5_000), max_size=10), name=st.sampled_from(["stream_usage.sse", "stream_crlf.sse"])
)
async def test_chunk_boundaries_change_nothing_of_the_whole(places: list[int], name: str, endpoint: Endpoint) -> None:
    whole = recorded(name)
    edges = [0, *sorted(place % len(whole) for place in places), len(whole)]
    chunks = [whole[start:end] for start, end in pairwise(edges)]

    once = await stream(recorded("stream_usage.sse"), endpoint=endpoint)
    assert len(once) == 1 + (endpoint != "chat.completions")
    assert joined(await stream(*chunks, endpoint=endpoint)) == joined(once)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_an_event_without_an_end_breaks_the_stream(endpoint: Endpoint) -> None:
    _, broken = await cut_stream(b"data: ", *[b"x" * 1024 * 1024] * 9, endpoint=endpoint)

    assert "8 MiB" in str(broken)


def test_what_the_provider_has_no_words_for_is_refused_by_the_clients_name_or_dropped_and_told() -> None:
    provider = HttpProvider(Recorded(), ANTHROPIC, DIALECTS)

    with pytest.raises(UnsupportedParameter, match="seed") as refused:
        provider.prepare(call(seed=7))
    prepared = provider.prepare(call(seed=7, drop_params=True))

    assert (refused.value.field, refused.value.capability) == ("seed", "seed")
    assert list(prepared.dropped) == ["seed"]


def test_an_endpoint_that_the_provider_lacks_is_refused() -> None:
    provider = HttpProvider(Recorded(), ANTHROPIC, DIALECTS)

    with pytest.raises(UnsupportedParameter) as refused:
        provider.prepare(call("embeddings"))

    assert (refused.value.capability, provider.can("embeddings")) == ("embeddings", False)


async def test_embeddings_in_several_calls_are_one_answer() -> None:
    http = Recorded(b'{"embeddings":[{"values":[1,0]},{"values":[0,1]}]}')

    reply = await HttpProvider(http, GOOGLE, DIALECTS).prepare(call("embeddings", encoding_format="float")).complete()

    assert [vector["embedding"] for vector in msgspec.json.decode(reply.body)["data"]] == [[1.0, 0.0], [0.0, 1.0]]
    assert reply.usage is None


async def test_tokens_are_counted_by_the_provider_in_its_own_words() -> None:
    own = Recorded(b'{"input_tokens":14}')
    other = Recorded(b'{"totalTokens":13}')

    assert await HttpProvider(own, ANTHROPIC, DIALECTS).count_tokens(call("messages")) == 14
    assert await HttpProvider(other, GOOGLE, DIALECTS).count_tokens(call("messages")) == 13
    assert own.sent[0][0] == "/v1/messages/count_tokens"
    assert other.sent[0][0] == "/v1beta/models/upstream:countTokens"
    with pytest.raises(UnsupportedParameter):
        await HttpProvider(Recorded(), OPENAI, DIALECTS).count_tokens(call("messages"))
