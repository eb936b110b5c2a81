"""What Anthropic's streams can be when they are not what they should be."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.anthropic.streams import AnthropicStreamReader
from adapters.providers.vocabulary import ErrorInAnswer
from domain.answer import AnswerEvent, whole

_EVENTS = [
    b'{"type":"message_start","message":{"id":"m","model":"c","content":[],"usage":{"input_tokens":5,"output_tokens":1}}}',
    b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
    b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}',
    b'{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"n","input":{}}}',
    b'{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}',
    b'{"type":"content_block_stop","index":1}',
    b'{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":15}}',
    b'{"type":"message_stop"}',
]


def read(*data: bytes) -> list[AnswerEvent]:
    reader = AnthropicStreamReader()
    return [found for each in data for found in reader.read(each)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b'{"type":"message_start","message":{"id":7}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":7}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\xff"}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta"}}',
        b'{"type":"content_block_start","index":0}',
        b'{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","input":{"a":"\xff"}}}',
        b'{"type":"message_delta","delta":{"stop_reason":7}}',
        b'{"type":"content_block_start","content_block":' + b"[" * 100_000,
    ],
)
def test_what_is_not_an_event_is_an_error(data: bytes) -> None:
    with pytest.raises(ErrorInAnswer):
        read(data)


_odd = st.none() | st.integers() | st.text() | st.lists(st.none()) | st.just({"type": "tool_use"})


@given(st.lists(st.sampled_from(_EVENTS) | st.binary(), max_size=12))
def test_no_bytes_make_a_reader_fail_otherwise(stream: list[bytes]) -> None:
    reader = AnthropicStreamReader()
    events: list[AnswerEvent] = []
    for data in stream:
        try:
            events += reader.read(data)
        except ErrorInAnswer:
            break
    whole(events)


@given(st.sampled_from(_EVENTS), st.sampled_from(["type", "index", "delta", "content_block", "message", "usage"]), _odd)
def test_an_event_with_odd_members_is_read_or_an_error(data: bytes, member: str, odd: object) -> None:
    made: dict[str, Any] = msgspec.json.decode(data)
    made[member] = odd
    with contextlib.suppress(ErrorInAnswer):
        read(_EVENTS[0], msgspec.json.encode(made), _EVENTS[-1])
