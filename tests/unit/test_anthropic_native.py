import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.anthropic.native import CountTokensPassthrough, MessagesPassthrough
from adapters.providers.vocabulary import ErrorInAnswer
from domain.ids import RequestId
from domain.pricing import Tokens
from domain.upstream import ProviderCall, ReplyPiece

PASSTHROUGH = MessagesPassthrough()
CALL = ProviderCall(
    request_id=RequestId("r1"),
    endpoint="messages",
    upstream_model="claude-upstream",
    members={
        "model": msgspec.Raw(b'"alias"'),
        "system": msgspec.Raw(b"null"),
        "messages": msgspec.Raw(b'[{"role": "user",  "content": "Hi"}]'),
    },
    stream=True,
    include_usage=True,
    drop_params=False,
    input_estimate=7,
    max_output_tokens=100,
)
WHOLE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "t", "name": "look", "input": {"a": 1}},
        {"type": "of_next_year", "more": [1]},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 9},
}
START = {
    "type": "message_start",
    "message": WHOLE
    | {
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 1, "service_tier": "standard"},
    },
}
END = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"input_tokens": 8, "cache_read_input_tokens": None, "output_tokens": 12},
}
EVENTS: list[dict[str, Any]] = [
    START,
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Grüße"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {"type": "x"}}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "look", "input": {}}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "event_of_next_year", "delta": "in another shape"},
    END,
    {"type": "message_stop"},
]


def encoded(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def read(events: Sequence[dict[str, Any]]) -> list[ReplyPiece]:
    reader = PASSTHROUGH.reader(CALL)
    return [reader.read(encoded(event)) for event in events]


def test_the_request_is_the_clients_own_for_the_upstream_model() -> None:
    body = b'{"model":"claude-upstream","messages":[{"role": "user",  "content": "Hi"}]}'

    assert PASSTHROUGH.request_body(CALL) == body
    assert CountTokensPassthrough().request(CALL) == ("/v1/messages/count_tokens", body)
    assert PASSTHROUGH.path == "/v1/messages"


def test_a_whole_answer_goes_out_as_it_came() -> None:
    body = json.dumps(WHOLE, indent=1).encode()

    reply = PASSTHROUGH.reply(body, CALL)

    assert (reply.body, reply.model, reply.finish_reason) == (body, "claude-x", "tool_calls")
    assert reply.output_chars == len("hm" + "Hello" + "look") + len('{\n    "a": 1\n   }')
    assert reply.usage is not None
    assert json.loads(bytes(reply.usage.raw)) == WHOLE["usage"]
    assert reply.usage.tokens == Tokens(input=3, cached_input=2, output=9)


def test_an_answer_that_names_no_model_has_the_one_that_was_asked() -> None:
    assert PASSTHROUGH.reply(encoded(WHOLE | {"model": None, "usage": None}), CALL).model == "claude-upstream"


def test_every_event_goes_out_as_it_came_but_the_last_which_is_held_back() -> None:
    pieces = read(EVENTS)

    for event, piece in zip(EVENTS[:-1], pieces, strict=False):
        assert piece.data == b"event: " + event["type"].encode() + b"\ndata: " + encoded(event) + b"\n\n"
        assert piece.closing == b""
    assert pieces[-1].data == b""
    assert pieces[-1].closing == b'event: message_stop\ndata: {"type": "message_stop"}\n\n'


def test_a_stream_has_ended_with_its_last_event_only() -> None:
    reader = PASSTHROUGH.reader(CALL)
    for event in EVENTS[:-1]:
        reader.read(encoded(event))
        assert not reader.ended

    reader.read(encoded(EVENTS[-1]))

    assert reader.ended


def test_usage_is_what_was_said_last_of_each_member() -> None:
    *_, last, _ = read(EVENTS)

    assert last.usage is not None
    assert json.loads(bytes(last.usage.raw)) == {
        "input_tokens": 8,
        "cache_read_input_tokens": 2,
        "output_tokens": 12,
        "service_tier": "standard",
    }
    assert last.usage.tokens == Tokens(input=8, cached_input=2, output=12)


def test_the_beginning_tells_all_that_is_known_of_a_stream_that_is_cut() -> None:
    start, *between, _, _ = read(EVENTS)

    assert start.usage is not None
    assert start.usage.tokens == Tokens(input=3, cached_input=2, output=1)
    assert [piece.usage for piece in between] == [None] * len(between)


def test_the_model_the_reason_and_what_was_written_are_seen() -> None:
    pieces = read(EVENTS)

    assert [piece.model for piece in pieces if piece.model] == ["claude-x"]
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["stop"]
    assert sum(piece.output_chars for piece in pieces) == len("Grüße" + "look" + "{}")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("stop_sequence", "stop_sequence"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "refusal"),
        ("pause_turn", "pause"),
        ("reason_of_next_year", "stop"),
    ],
)
def test_every_stop_reason_has_its_neutral_name(said: str, reason: str) -> None:
    assert PASSTHROUGH.reply(encoded(WHOLE | {"stop_reason": said}), CALL).finish_reason == reason
    assert read([START, END | {"delta": {"stop_reason": said}}])[1].finish_reason == reason


@pytest.mark.parametrize("line_break", [b"\n", b"\r\n", b"\r"])
def test_line_breaks_inside_of_an_event_do_not_end_it(line_break: bytes) -> None:
    piece = PASSTHROUGH.reader(CALL).read(b'{"type":' + line_break + b'"ping"}')

    lines = piece.data.removesuffix(b"\n\n").split(b"\n")
    assert lines[0] == b"event: ping"
    assert json.loads(b"".join(line.removeprefix(b"data: ") for line in lines[1:])) == {"type": "ping"}


def test_a_type_cannot_smuggle_lines_into_the_stream() -> None:
    piece = PASSTHROUGH.reader(CALL).read(rb'{"type":"x\ndata: [DONE]"}')

    assert piece.data == b'data: {"type":"x\\ndata: [DONE]"}\n\n'


def test_an_error_says_what_the_provider_said() -> None:
    error = encoded({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})

    for attempt in (lambda: PASSTHROUGH.reply(error, CALL), lambda: PASSTHROUGH.reader(CALL).read(error)):
        with pytest.raises(ErrorInAnswer, match="Overloaded") as raised:
            attempt()
        assert raised.value.error_type == "overloaded_error"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"type": "message_st',
        b'{"type": 1}',
        b'{"type": "ping", "x": "\xff"}',
        b'{"type": "error"}',
        b'{"type": "error", "error": "odd"}',
        b'{"type": "content_block_delta", "index": 0}',
        b'{"type": "content_block_delta", "delta": {"text": 1}}',
        b'{"type": "message_start", "message": []}',
    ],
)
def test_what_is_not_readable_is_an_error(data: bytes) -> None:
    with pytest.raises(ErrorInAnswer):
        PASSTHROUGH.reader(CALL).read(data)
    with pytest.raises(ErrorInAnswer):
        PASSTHROUGH.reply(data, CALL)


def test_a_count_is_read() -> None:
    assert CountTokensPassthrough().read(b'{"input_tokens": 12, "more": 1}') == 12


@pytest.mark.parametrize("body", [b"", b"{}", b'{"input_tokens": -1}', b'{"input_tokens": "1"}', b"\xff"])
def test_a_count_that_is_none_is_an_error(body: bytes) -> None:
    with pytest.raises(ErrorInAnswer):
        CountTokensPassthrough().read(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WHOLE, "delta", "text"]), inner),
    max_leaves=6,
)


@given(st.sampled_from([*EVENTS, WHOLE]), st.sampled_from([*START, *END, *WHOLE, "error", "content_block"]), JSON)
def test_an_answer_with_anything_in_any_place_is_read_or_an_error(
    event: dict[str, Any], member: str, value: Any
) -> None:
    reader = PASSTHROUGH.reader(CALL)
    reader.read(encoded(START))
    for data in (encoded(event | {member: value}), encoded({"type": "error", member: value})):
        with suppress(ErrorInAnswer):
            reader.read(data)
        with suppress(ErrorInAnswer):
            PASSTHROUGH.reply(data, CALL)


@given(st.binary())
def test_any_bytes_are_read_or_an_error(data: bytes) -> None:
    with suppress(ErrorInAnswer):
        PASSTHROUGH.reader(CALL).read(data)
    with suppress(ErrorInAnswer):
        PASSTHROUGH.reply(data, CALL)
