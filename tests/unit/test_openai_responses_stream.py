"""OpenAI's own streamed responses: every event passes as it came but the last, which waits for the charge."""

import contextlib
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.openai.responses import ResponsesPassthrough, ResponsesReader
from adapters.providers.vocabulary import ErrorInAnswer
from domain.answer import Finished, RefusalDelta, Started, TextDelta, ThinkingDelta, ToolArguments, ToolStarted
from domain.upstream import ReplyPiece
from tests.responses import FAILED, RESPONSE, TOKENS, USAGE, call, events_in, streamed

ANSWER = [
    Started("up", "theirs-1"),
    ThinkingDelta("Hm."),
    TextDelta("Hel"),
    TextDelta("lo"),
    RefusalDelta("no"),
    ToolStarted(0, "c0", "f"),
    ToolArguments(0, '{"a":1}'),
    Finished("tool_calls"),
]


def event(kind: str, **members: Any) -> bytes:
    return msgspec.json.encode({"type": kind, "sequence_number": 3, **members})


def read(data: bytes) -> ReplyPiece:
    return ResponsesReader().read(data)


def failure_of(data: bytes) -> ErrorInAnswer:
    with pytest.raises(ErrorInAnswer) as failure:
        read(data)
    return failure.value


def test_a_stream_passes_with_only_its_last_event_held_back() -> None:
    stream = streamed(ANSWER)
    reader = ResponsesPassthrough().reader(call())
    pieces = [reader.read(msgspec.json.encode(event)) for event in events_in(stream)]

    assert b"".join(piece.data for piece in pieces) + pieces[-1].closing == stream
    assert [bool(piece.closing) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert sum(piece.output_chars for piece in pieces) == len('Hm.Hellono{"a":1}')
    assert (pieces[0].model, pieces[-1].model, pieces[-1].finish_reason) == ("theirs-1", "theirs-1", "tool_calls")
    assert reader.ended


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete"])
def test_the_last_event_has_the_usage(kind: str) -> None:
    data = event(kind, response=RESPONSE)
    piece = read(data)

    assert piece.data == b""
    assert piece.closing == b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
    assert piece.usage is not None
    assert piece.usage.tokens == TOKENS
    assert bytes(piece.usage.raw) == msgspec.json.encode(USAGE)


def test_a_last_event_without_output_still_ends_the_stream() -> None:
    reader = ResponsesReader()
    piece = reader.read(event("response.completed", response={"id": "resp_1", "usage": USAGE}))

    assert reader.ended
    assert piece.finish_reason == "stop"


def test_nothing_follows_the_end() -> None:
    reader = ResponsesReader()
    assert reader.read(b"[DONE]") == ReplyPiece(b"")
    assert not reader.ended
    reader.read(event("response.completed", response=RESPONSE))

    assert reader.read(event("response.output_text.delta", delta="a")) == ReplyPiece(b"")


@pytest.mark.parametrize(
    ("data", "framed"),
    [
        (event("response.output_text.delta", delta="é", obfuscation="x"), b"event: response.output_text.delta\ndata: "),
        (event("response.web_search_call.searching", response=3), b"event: response.web_search_call.searching\ndata: "),
        (event("keepalive"), b"event: keepalive\ndata: "),
        (event("a\n\ndata: b"), b"data: "),
        (b'{"hello":1}', b"data: "),
    ],
)
def test_an_event_passes_unchanged_under_its_own_name(data: bytes, framed: bytes) -> None:
    assert read(data).data == framed + data + b"\n\n"


def test_an_event_of_several_lines_stays_one() -> None:
    assert read(b'{"type":"a",\r\n"b":\r1}').data == b'event: a\ndata: {"type":"a",\ndata: "b":\ndata: 1}\n\n'


FAILURES = [
    (event("error", code="server_error", message="We broke.", param=None), "We broke.", "server_error", None),
    (event("error", error={"type": "t", "code": "c", "message": "Nested."}), "Nested.", "c", "t"),
    (b'{"error":{"message":"Bare.","code":429}}', "Bare.", "429", None),
    (b'{"type":"error"}', "The provider failed to answer.", None, None),
    (b'{"error":"odd"}', "The provider failed to answer.", None, None),
    (event("response.failed", response=FAILED), "We broke.", "server_error", None),
    (event("response.completed", response=FAILED), "We broke.", "server_error", None),
    (event("response.failed"), "The provider's answer is not a response.", None, None),
    (event("response.completed"), "The provider's answer is not a response.", None, None),
    (event("response.output_text.delta", delta=3), "The provider's answer is not a response.", None, None),
    (b'{"type":"response.output_text.delta","delta":"\xff"}', "The provider's answer is not a response.", None, None),
    (b"[]", "The provider's answer is not a response.", None, None),
    (b"", "The provider's answer is not a response.", None, None),
]


@pytest.mark.parametrize(("data", "message", "code", "error_type"), FAILURES)
def test_a_failure_in_the_stream_is_an_error(
    data: bytes, message: str, code: str | None, error_type: str | None
) -> None:
    failure = failure_of(data)

    assert (str(failure), failure.code, failure.error_type) == (message, code, error_type)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "content", "a"]), inner),
    max_leaves=6,
)
KINDS = ["error", "response.created", "response.completed", "response.failed", "response.output_text.delta", "other"]


@given(st.dictionaries(st.sampled_from(list(RESPONSE)), JSON), st.sampled_from(KINDS), JSON)
def test_a_spoiled_event_is_an_event_or_an_error(spoiled: dict[str, Any], kind: str, delta: Any) -> None:
    with contextlib.suppress(ErrorInAnswer):
        read(event(kind, response={**RESPONSE, **spoiled}, delta=delta))


@given(st.binary())
def test_any_bytes_are_an_event_or_an_error(data: bytes) -> None:
    with contextlib.suppress(ErrorInAnswer):
        read(data)


@given(st.integers(0, len(msgspec.json.encode(RESPONSE))))
def test_a_truncated_event_is_an_error(length: int) -> None:
    assert failure_of(event("response.completed", response=RESPONSE)[:length])


def test_a_delta_costs_less_than_ten_microseconds() -> None:
    reader = ResponsesReader()
    data = event("response.output_text.delta", item_id="msg_1" * 8, delta=" world", logprobs=[], obfuscation="x" * 16)
    took: list[float] = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(1_000):
            reader.read(data)
        took.append((time.perf_counter() - started) / 1_000)

    assert min(took) < 10e-6
