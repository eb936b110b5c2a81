"""OpenAI's answers as they come over the wire: passed on as they are, and measured exactly."""

from collections.abc import AsyncGenerator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.http import ProviderHttp
from adapters.providers.openai import OpenAIProvider, request_body
from domain.chat import ChatCall, ChatReply, ReplyPiece
from domain.errors import ProviderBroken
from domain.ids import RequestId
from domain.pricing import Tokens

FIXTURES = Path(__file__).parents[1] / "fixtures" / "openai"
SECRET = "sk-very-secret"
STREAMED = Tokens(input=15, cached_input=4, output=7, reasoning=3)


class Recorded(ProviderHttp):
    """Answers with what was recorded, in the given chunks."""

    def __init__(self, *chunks: bytes) -> None:
        super().__init__("openai", "http://recorded", {"authorization": f"Bearer {SECRET}"})
        self._chunks = chunks
        self.sent: dict[str, Any] = {}

    async def post(self, path: str, body: bytes, request_id: str) -> bytes:
        self.sent = msgspec.json.decode(body)
        return b"".join(self._chunks)

    async def post_stream(self, path: str, body: bytes, request_id: str) -> AsyncGenerator[bytes]:
        self.sent = msgspec.json.decode(body)
        for chunk in self._chunks:
            yield chunk


def recorded(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def call(*, stream: bool = False, include_usage: bool = False, **members: Any) -> ChatCall:
    encoded = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in members.items()}
    return ChatCall(RequestId("r"), "upstream", encoded, stream, include_usage, 5, 100)


async def complete(body: bytes) -> ChatReply:
    return await OpenAIProvider("openai", Recorded(body)).complete(call())


async def stream(*chunks: bytes, include_usage: bool = False) -> list[ReplyPiece]:
    asked = call(stream=True, include_usage=include_usage)
    return [piece async for piece in OpenAIProvider("openai", Recorded(*chunks)).stream(asked)]


async def cut_stream(*chunks: bytes) -> tuple[list[ReplyPiece], ProviderBroken]:
    """What came before it broke, and how it broke."""
    pieces: list[ReplyPiece] = []
    with pytest.raises(ProviderBroken) as broken:
        async for piece in OpenAIProvider("openai", Recorded(*chunks)).stream(call(stream=True)):
            pieces.append(piece)
    return pieces, broken.value


async def test_a_plain_answer_passes_through_as_it_is() -> None:
    reply = await complete(recorded("plain.json"))

    assert reply.body == recorded("plain.json")
    assert (reply.model, reply.finish_reason, reply.output_chars) == ("gpt-4.1-2025-04-14", "stop", 22)
    assert reply.usage is not None
    assert reply.usage.tokens == Tokens(input=19, output=10)


async def test_cached_reasoning_and_audio_tokens_are_told_apart_and_sum_to_the_totals() -> None:
    reply = await complete(recorded("tools.json"))

    assert reply.finish_reason == "tool_calls"
    assert reply.output_chars > 0
    assert reply.usage is not None
    tokens = reply.usage.tokens
    assert tokens == Tokens(input=100, cached_input=1024, audio_input=76, output=17, reasoning=256, audio_output=44)
    assert (tokens.prompt, tokens.completion, tokens.total) == (1200, 317, 1517)
    assert bytes(reply.usage.raw) in recorded("tools.json")


async def test_an_error_inside_a_200_is_a_broken_answer_in_the_providers_words() -> None:
    with pytest.raises(ProviderBroken, match="Provider returned error"):
        await complete(recorded("error_inside.json"))


NO_COMPLETIONS = [
    b"",
    b"<html>Bad gateway</html>",
    b"null",
    b"[]",
    b"{}",
    b'{"choices":[]}',
    b'{"choices":null}',
    b'{"choices":[3]}',
    b'{"choices":[{"message":{"content":"\xff"}}]}',
    b'{"error":"overloaded"}',
    b'{"error":{"message":null},"choices":[{"message":{"content":""}}]}',
]


@pytest.mark.parametrize("body", NO_COMPLETIONS)
async def test_what_is_no_completion_is_a_broken_answer(body: bytes) -> None:
    with pytest.raises(ProviderBroken):
        await complete(body)
    pieces, _ = await cut_stream(b"data: " + (body or b" ") + b"\n\n")
    assert pieces == [] or body == b'{"choices":[]}'


async def test_a_providers_words_never_carry_our_credentials() -> None:
    with pytest.raises(ProviderBroken) as broken:
        await complete(msgspec.json.encode({"error": {"message": f"Bad key {SECRET}."}}))

    assert str(broken.value) == "Bad key ***."


def one_event_a_read(name: str) -> list[bytes]:
    return [event + b"\n\n" for event in recorded(name).split(b"\n\n") if event]


async def test_a_stream_ends_with_its_usage() -> None:
    pieces = await stream(*one_event_a_read("stream_usage.sse"))

    assert [piece.output_chars for piece in pieces] == [0, 5, 6, 0, 0]
    assert [piece.finish_reason for piece in pieces] == [None, None, None, "stop", None]
    assert {piece.model for piece in pieces} == {"gpt-4o-mini"}
    assert [piece.usage for piece in pieces[:-1]] == [None] * 4
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.tokens == STREAMED


@pytest.mark.parametrize("name", ["stream_usage.sse", "stream_crlf.sse"])
async def test_a_client_sees_the_stream_as_the_provider_wrote_it(name: str) -> None:
    asked = b"".join([piece.data for piece in await stream(recorded(name), include_usage=True)])
    not_asked = b"".join([piece.data for piece in await stream(recorded(name))])

    comment, *events, done, nothing = recorded("stream_usage.sse").split(b"\n\n")
    assert (comment, done, nothing) == (b": keep-alive", b"data: [DONE]", b"")
    assert asked == b"".join(event + b"\n\n" for event in events)
    assert not_asked == b"".join(event + b"\n\n" for event in events[:-1])


async def test_tool_calls_count_as_output() -> None:
    pieces = await stream(*one_event_a_read("stream_tools.sse"))

    assert [piece.output_chars > 0 for piece in pieces] == [True, True, False, False]
    assert pieces[2].finish_reason == "tool_calls"


async def test_a_stream_that_is_cut_is_never_a_normal_end() -> None:
    pieces, broken = await cut_stream(recorded("stream_cut.sse"))

    assert sum(piece.output_chars for piece in pieces) == 5
    assert "end mark" in str(broken)


@given(st.integers(0, 5_000))
async def test_wherever_a_stream_is_cut_it_is_no_normal_end(place: int) -> None:
    whole = recorded("stream_usage.sse")

    await cut_stream(whole[: place % whole.index(b"DONE]")])


async def test_an_end_mark_without_its_blank_line_is_an_end() -> None:
    whole = recorded("stream_usage.sse")

    assert _whole(await stream(whole[:-1])) == _whole(await stream(whole[:-2])) == _whole(await stream(whole))


@pytest.mark.parametrize(
    ("name", "words"),
    [("stream_error_event.sse", "The server had an error"), ("stream_error_beside_choices.sse", "disconnected")],
)
async def test_an_error_in_the_middle_of_a_stream_breaks_it_in_the_providers_words(name: str, words: str) -> None:
    pieces, broken = await cut_stream(recorded(name))

    assert sum(piece.output_chars for piece in pieces) == 5
    assert words in str(broken)


@given(st.lists(st.integers(0, 5_000), max_size=10), st.sampled_from(["stream_usage.sse", "stream_crlf.sse"]))
async def test_chunk_boundaries_change_nothing_of_the_whole(places: list[int], name: str) -> None:
    whole = recorded(name)
    edges = [0, *sorted(place % len(whole) for place in places), len(whole)]
    chunks = [whole[start:end] for start, end in pairwise(edges)]

    assert _whole(await stream(*chunks)) == _whole(await stream(recorded("stream_usage.sse")))


def _whole(pieces: list[ReplyPiece]) -> tuple[object, ...]:
    return (
        b"".join(piece.data for piece in pieces),
        sum(piece.output_chars for piece in pieces),
        [piece.finish_reason for piece in pieces if piece.finish_reason],
        [piece.usage.tokens for piece in pieces if piece.usage],
    )


async def test_what_came_in_one_read_is_one_piece_also_before_an_error() -> None:
    assert len(await stream(recorded("stream_usage.sse"))) == 1
    pieces, _ = await cut_stream(recorded("stream_error_event.sse"))
    assert len(pieces) == 1
    assert pieces[0].output_chars == 5


async def test_an_event_without_an_end_breaks_the_stream() -> None:
    _, broken = await cut_stream(b"data: ", *[b"x" * 1024 * 1024] * 9)

    assert "8 MiB" in str(broken)


COUNT = st.none() | st.integers(0, 10**9)
DETAIL = st.none() | st.integers(-10, 10**9)


@given(COUNT, COUNT, st.tuples(DETAIL, DETAIL), st.tuples(DETAIL, DETAIL))
async def test_whatever_the_details_say_the_classes_sum_to_the_totals(
    prompt: int | None, completion: int | None, inputs: tuple[int | None, ...], outputs: tuple[int | None, ...]
) -> None:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": dict(zip(("cached_tokens", "audio_tokens"), inputs, strict=True)),
        "completion_tokens_details": dict(zip(("reasoning_tokens", "audio_tokens"), outputs, strict=True)),
    }

    reply = await complete(msgspec.json.encode({"choices": [{"message": {"content": "a"}}], "usage": usage}))

    if reply.usage is None:
        assert prompt is None
        assert completion is None
    else:
        tokens = reply.usage.tokens
        assert (tokens.prompt, tokens.completion) == (prompt or 0, completion or 0)
        assert all(count >= 0 for count in msgspec.structs.astuple(tokens))


NO_USAGE = [
    None,
    {},
    {"total_tokens": 5},
    {"prompt_tokens": "many"},
    {"prompt_tokens": -5},
    {"completion_tokens": -1},
    [],
]


@pytest.mark.parametrize("usage", NO_USAGE)
async def test_usage_that_says_nothing_sensible_is_no_usage(usage: object) -> None:
    reply = await complete(msgspec.json.encode({"choices": [{"message": {"content": "a"}}], "usage": usage}))

    assert reply.usage is None


async def test_usage_of_zero_is_usage() -> None:
    usage = {"prompt_tokens": 0, "completion_tokens": 0}

    reply = await complete(msgspec.json.encode({"choices": [{"message": {"content": "a"}}], "usage": usage}))

    assert reply.usage is not None
    assert reply.usage.tokens == Tokens()


def body_of(make: Callable[[], ChatCall]) -> dict[str, Any]:
    return msgspec.json.decode(request_body(make()))


def test_what_the_client_asked_goes_upstream_under_the_upstream_models_name() -> None:
    sent = body_of(lambda: call(model="fast", messages=[], logit_bias={"1": -100}, stop=None))

    assert sent == {"model": "upstream", "messages": [], "logit_bias": {"1": -100}}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_obfuscation": False}])
def test_a_stream_always_asks_for_usage(options: dict[str, bool] | None) -> None:
    sent = body_of(lambda: call(stream=True, stream_options=options))

    assert sent["stream_options"] == {**(options or {}), "include_usage": True}
