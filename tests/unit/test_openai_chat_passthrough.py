"""OpenAI's answers as they come over the wire: passed on as they are, and measured exactly."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.passthrough import Passthrough
from adapters.providers.sse import sse_data
from adapters.providers.vocabulary import ErrorInAnswer
from domain.pricing import Tokens
from domain.upstream import ReplyPiece
from tests.openai_passing import CHAT, DONE, TEXT, USAGE, reader, reply

FIXTURES = Path(__file__).parents[1] / "fixtures" / "openai"
STREAMED = Tokens(input=15, cached_input=4, output=7, reasoning=3)


def recorded(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


async def events(name: str) -> list[bytes]:
    async def once() -> AsyncIterator[bytes]:
        yield recorded(name)

    return [data async for read in sse_data(once()) for data in read]


async def stream(name: str, *, include_usage: bool = False) -> list[ReplyPiece]:
    reading = reader(include_usage=include_usage)
    pieces = [reading.read(data) for data in await events(name)]
    assert reading.ended
    return pieces


def test_a_plain_answer_passes_through_as_it_is() -> None:
    answer = reply(recorded("plain.json"))

    assert answer.body == recorded("plain.json")
    assert (answer.model, answer.finish_reason, answer.output_chars) == ("gpt-4.1-2025-04-14", "stop", 22)
    assert answer.usage is not None
    assert answer.usage.tokens == Tokens(input=19, output=10)


def test_cached_reasoning_and_audio_tokens_are_told_apart_and_sum_to_the_totals() -> None:
    answer = reply(recorded("tools.json"))

    assert answer.finish_reason == "tool_calls"
    assert answer.output_chars > 0
    assert answer.usage is not None
    tokens = answer.usage.tokens
    assert tokens == Tokens(input=100, cached_input=1024, audio_input=76, output=17, reasoning=256, audio_output=44)
    assert (tokens.prompt, tokens.completion, tokens.total) == (1200, 317, 1517)
    assert bytes(answer.usage.raw) in recorded("tools.json")


def test_an_answer_without_a_model_is_the_models_that_was_asked() -> None:
    answer = reply(b'{"choices":[{"message":{"content":"a"}}]}')

    assert (answer.model, answer.finish_reason, answer.usage) == ("upstream", "stop", None)


@pytest.mark.parametrize(
    ("message", "chars"),
    [
        ({"content": None, "refusal": "I won't."}, 8),
        ({"content": "abc", "reasoning_content": "de"}, 5),
        ({"content": "abc", "reasoning": "de", "reasoning_content": "de"}, 5),
        ({"content": [{"type": "text", "text": "abc"}, {"type": "reference", "reference_ids": [1]}]}, 3),
        ({"content": None, "tool_calls": [], "function_call": None}, 0),
        ({"content": None, "function_call": {"name": "f"}}, 12),
    ],
)
def test_all_that_a_model_wrote_counts_as_output(message: dict[str, object], chars: int) -> None:
    assert reply(msgspec.json.encode({"choices": [{"message": message}]})).output_chars == chars


def test_the_thoughts_of_mistrals_models_count_as_output() -> None:
    content = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "abc"}]

    assert reply(msgspec.json.encode({"choices": [{"message": {"content": content}}]})).output_chars > 5


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
    b'{"choices":[{"message":{"content":""},"error":{"code":502}}]}',
    b'{"x":' + b"[" * 100_000,
]


@pytest.mark.parametrize("passthrough", [CHAT, TEXT])
@pytest.mark.parametrize("body", NO_COMPLETIONS)
def test_what_is_no_completion_is_an_error(body: bytes, passthrough: Passthrough) -> None:
    with pytest.raises(ErrorInAnswer):
        reply(body, passthrough)
    if body != b'{"choices":[]}':
        with pytest.raises(ErrorInAnswer):
            reader(passthrough=passthrough).read(body)


def test_an_error_inside_a_200_is_told_in_the_providers_words() -> None:
    with pytest.raises(ErrorInAnswer, match="Provider returned error"):
        reply(recorded("error_inside.json"))


def test_an_error_in_a_choice_is_told_with_its_code() -> None:
    error = {"code": 502, "message": "Upstream is gone", "type": "server_error"}

    with pytest.raises(ErrorInAnswer, match="Upstream is gone") as failure:
        reply(msgspec.json.encode({"choices": [{"message": {"content": "a"}, "error": error}]}))

    assert (failure.value.error_type, failure.value.code) == ("server_error", "502")


@given(st.binary())
def test_whatever_the_bytes_are_reading_ends_in_a_piece_or_an_error(data: bytes) -> None:
    for read in (lambda: reader().read(data), lambda: reply(data)):
        with suppress(ErrorInAnswer):
            read()


@given(st.data())
def test_whatever_is_changed_in_an_answer_reading_ends_in_a_reply_or_an_error(data: st.DataObject) -> None:
    body = bytearray(recorded(data.draw(st.sampled_from(["plain.json", "tools.json"]))))
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        answer = reply(bytes(body))
    except ErrorInAnswer:
        return
    assert answer.body == body
    if answer.usage is not None:
        msgspec.json.decode(answer.usage.raw)


async def test_a_stream_ends_with_its_usage() -> None:
    pieces = await stream("stream_usage.sse")

    assert [piece.output_chars for piece in pieces] == [0, 5, 6, 0, 0, 0]
    assert [piece.finish_reason for piece in pieces] == [None, None, None, "stop", None, None]
    assert {piece.model for piece in pieces[:-1]} == {"gpt-4o-mini"}
    assert [piece.usage for piece in pieces[:-2]] == [None] * 4
    assert pieces[-2].usage is not None
    assert pieces[-2].usage.tokens == STREAMED


@pytest.mark.parametrize("name", ["stream_usage.sse", "stream_crlf.sse"])
async def test_a_client_sees_the_stream_as_the_provider_wrote_it(name: str) -> None:
    asked = b"".join([piece.data for piece in await stream(name, include_usage=True)])
    not_asked = b"".join([piece.data for piece in await stream(name)])

    comment, *written, done, nothing = recorded("stream_usage.sse").split(b"\n\n")
    assert (comment, done, nothing) == (b": keep-alive", b"data: [DONE]", b"")
    assert asked == b"".join(event + b"\n\n" for event in written)
    assert not_asked == b"".join(event + b"\n\n" for event in written[:-1])


async def test_the_end_mark_is_kept_for_the_close() -> None:
    *pieces, last = await stream("stream_usage.sse")

    assert (last.data, last.closing) == (b"", DONE)
    assert {piece.closing for piece in pieces} == {b""}


async def test_tool_calls_count_as_output() -> None:
    pieces = await stream("stream_tools.sse")

    assert [piece.output_chars > 0 for piece in pieces] == [True, True, False, False, False]
    assert pieces[2].finish_reason == "tool_calls"


async def test_a_stream_that_is_cut_has_not_ended() -> None:
    reading = reader()

    pieces = [reading.read(data) for data in await events("stream_cut.sse")]

    assert sum(piece.output_chars for piece in pieces) == 5
    assert not reading.ended


@pytest.mark.parametrize(
    ("name", "words"),
    [("stream_error_event.sse", "The server had an error"), ("stream_error_beside_choices.sse", "disconnected")],
)
async def test_an_error_in_the_middle_of_a_stream_is_told_in_the_providers_words(name: str, words: str) -> None:
    reading, chars = reader(), 0

    with pytest.raises(ErrorInAnswer, match=words):
        for data in await events(name):
            chars += reading.read(data).output_chars

    assert chars == 5
    assert not reading.ended


AZURE_FIRST = b'{"choices":[],"created":0,"id":"","model":"","prompt_filter_results":[{"prompt_index":0}]}'
OBFUSCATED = b'{"choices":[{"index":0,"delta":{"content":"a"}}],"obfuscation":"xyz","usage":null}'
TWO_LINES = b'{"choices":\n[]}'


@pytest.mark.parametrize(
    ("data", "passed"),
    [
        (AZURE_FIRST, b"data: " + AZURE_FIRST + b"\n\n"),
        (OBFUSCATED, b"data: " + OBFUSCATED + b"\n\n"),
        (TWO_LINES, b'data: {"choices":\ndata: []}\n\n'),
    ],
)
def test_whatever_else_a_chunk_holds_passes_through(data: bytes, passed: bytes) -> None:
    assert reader().read(data).data == passed


@pytest.mark.parametrize("reported", [{"usage": USAGE}, {"usage": None, "x_groq": {"id": "req", "usage": USAGE}}])
def test_usage_in_the_last_choice_is_read_and_stays(reported: dict[str, object]) -> None:
    data = msgspec.json.encode({"choices": [{"delta": {}, "finish_reason": "stop"}], **reported})

    piece = reader().read(data)

    assert piece.data == b"data: " + data + b"\n\n"
    assert piece.usage is not None
    assert piece.usage.tokens == Tokens(input=12, output=26)
