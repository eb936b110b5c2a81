import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from adapters.dialects.messages.dialect import MessagesDialect
from domain.answer import (
    AnswerEvent,
    Citation,
    Finished,
    FinishReason,
    Logprobs,
    RedactedThinkingDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolArguments,
    ToolStarted,
    Used,
    whole,
)
from domain.ids import RequestId
from domain.pricing import Tokens
from domain.upstream import ProviderCall, Usage

DIALECT = MessagesDialect()
EVENT = TypeAdapter[RawMessageStreamEvent](RawMessageStreamEvent)
CALL = ProviderCall(
    request_id=RequestId("r1"),
    endpoint="messages",
    upstream_model="asked-for",
    members={},
    stream=True,
    include_usage=True,
    drop_params=False,
    input_estimate=7,
    max_output_tokens=100,
)
TOKENS = Tokens(input=10, cached_input=5, cache_write_5m=2, cache_write_1h=3, audio_input=1, output=20, reasoning=4)
USED = Used(Usage(msgspec.Raw(b"{}"), TOKENS))
USAGE = {
    "input_tokens": 11,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 5,
    "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
    "output_tokens": 24,
    "output_tokens_details": {"thinking_tokens": 4},
}


def answered(*events: AnswerEvent) -> dict[str, Any]:
    body = DIALECT.whole(whole(events), CALL)
    Message.model_validate_json(body, strict=True)
    return json.loads(body)


def streamed(*batches: Sequence[AnswerEvent]) -> list[dict[str, Any]]:
    """The events as a client reads them, each held against Anthropic's own type of it."""
    writer = DIALECT.writer(CALL)
    data = b"".join(writer.write(batch) for batch in batches)
    rest, closing = writer.close()
    assert closing == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    events: list[dict[str, Any]] = []
    for block in (data + rest + closing).decode().removesuffix("\n\n").split("\n\n"):
        name, _, payload = block.partition("\n")
        events.append(json.loads(payload.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
        EVENT.validate_python(events[-1], strict=True)
    return events


def accumulated(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What Anthropic's SDK makes of a stream."""
    snapshot = None
    buffers: dict[int, bytes] = {}
    for event in events:
        snapshot = accumulate_event(event=EVENT.validate_python(event), current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    return snapshot.to_dict(exclude_unset=True)


def one_by_one(*events: AnswerEvent) -> dict[str, Any]:
    return accumulated(streamed(*([event] for event in events)))


EVERYTHING = (
    Started("chatcmpl-1", "served-by"),
    ThinkingDelta("hm"),
    ThinkingDelta("m"),
    ThinkingDelta("", signature="s1"),
    ThinkingDelta("more"),
    RedactedThinkingDelta("xyz"),
    TextDelta("Hel"),
    Citation(msgspec.Raw(b"{}")),
    TextDelta("lo “you”\n"),
    Logprobs(()),
    ToolStarted(0, "call_1", "look", signature="s2"),
    ToolArguments(0, ""),
    ToolArguments(0, '{"at": '),
    ToolArguments(0, "1}"),
    ToolStarted(1, "call_2", "list"),
    TextDelta("another choice", choice=1),
    Finished("tool_calls"),
    USED,
)
CONTENT = [
    {"type": "thinking", "thinking": "hmm", "signature": "s1"},
    {"type": "thinking", "thinking": "more", "signature": ""},
    {"type": "redacted_thinking", "data": "xyz"},
    {"type": "text", "text": "Hello “you”\n"},
    {
        "type": "tool_use",
        "id": "call_1",
        "name": "look",
        "input": {"at": 1},
        "extra_content": {"google": {"thought_signature": "s2"}},
    },
    {"type": "tool_use", "id": "call_2", "name": "list", "input": {}},
]


def test_a_whole_answer_is_a_message() -> None:
    assert answered(*EVERYTHING) == {
        "id": "msg_r1",
        "type": "message",
        "role": "assistant",
        "model": "served-by",
        "content": CONTENT,
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": USAGE,
    }


def test_a_streamed_answer_adds_up_to_the_whole_one() -> None:
    for message in (one_by_one(*EVERYTHING), accumulated(streamed(EVERYTHING))):
        assert message.pop("stop_details", None) is None
        usage = message.pop("usage")
        assert message == {name: value for name, value in answered(*EVERYTHING).items() if name != "usage"}
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"):
            assert usage[name] == USAGE[name]


def test_blocks_come_one_after_the_other() -> None:
    events = streamed(*([event] for event in EVERYTHING))

    opened: list[int] = []
    for event in events[1:-2]:
        if event["type"] == "content_block_start":
            assert event["index"] == len(opened)
            opened.append(event["index"])
        assert event["index"] == opened[-1]
    assert [event["type"] for event in events[-3:]] == ["content_block_stop", "message_delta", "message_stop"]


def test_the_beginning_tells_what_is_known_of_the_usage() -> None:
    early = streamed([Started("", ""), USED])[0]["message"]
    late = streamed([Started("", "")], [USED])[0]["message"]

    assert early["usage"] == {name: USAGE[name] for name in USAGE if name != "output_tokens_details"} | {
        "output_tokens": 0
    }
    assert (late["usage"]["input_tokens"], late["model"]) == (7, "asked-for")


def test_the_end_tells_the_exact_usage() -> None:
    assert streamed([TextDelta("a")], [USED], [USED])[-2]["usage"] == USAGE


def test_usage_that_nobody_reports_is_estimated() -> None:
    events = [TextDelta("a" * 9)]

    assert answered(*events)["usage"]["output_tokens"] == 3
    assert one_by_one(*events)["usage"]["output_tokens"] == 3
    assert answered(*events)["usage"]["input_tokens"] == 7


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("content_filter", "refusal"),
        ("refusal", "refusal"),
        ("pause", "pause_turn"),
    ],
)
def test_every_finish_has_its_stop_reason(reason: FinishReason, said: str) -> None:
    events = (TextDelta("a"), Finished(reason))

    assert answered(*events)["stop_reason"] == one_by_one(*events)["stop_reason"] == said


def test_the_stop_sequence_that_was_met_is_told() -> None:
    events = (TextDelta("a"), Finished("stop_sequence", stop_sequence="END"))

    for message in (answered(*events), one_by_one(*events)):
        assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")


@pytest.mark.parametrize(
    ("event", "said"),
    [(ToolStarted(0, "c", "f"), "tool_use"), (RefusalDelta("No."), "refusal")],
)
def test_a_stop_beside_a_tool_call_or_a_refusal_is_named_after_it(event: AnswerEvent, said: str) -> None:
    assert answered(event, Finished("stop"))["stop_reason"] == said
    assert one_by_one(event, Finished("stop"))["stop_reason"] == said


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", "three", '"{}"'])
def test_arguments_that_are_no_object_are_put_into_one(arguments: str) -> None:
    events = (ToolStarted(0, "c", "f"), ToolArguments(0, arguments))

    assert answered(*events)["content"][0]["input"] == {"arguments": arguments}


def test_arguments_that_were_cut_go_out_as_far_as_they_came() -> None:
    events = streamed([ToolStarted(0, "c", "f"), ToolArguments(0, '{"a": "b')], [Finished("length")])

    assert events[2]["delta"] == {"type": "input_json_delta", "partial_json": '{"a": "b'}
    assert accumulated(events)["stop_reason"] == "max_tokens"


def test_text_that_was_parted_for_a_signature_is_one_again() -> None:
    events = (TextDelta("Hel", signature="s"), TextDelta("lo"))

    assert answered(*events)["content"] == one_by_one(*events)["content"] == [{"type": "text", "text": "Hello"}]


def test_nothing_is_said_of_nothing() -> None:
    writer = DIALECT.writer(CALL)

    assert writer.write([]) == b""
    writer.write([TextDelta("a")])
    assert writer.write([TextDelta("")]) == writer.write([Used(USED.usage)]) == b""


def test_an_answer_without_a_word_is_a_message_too() -> None:
    assert accumulated(streamed())["content"] == answered()["content"] == []


def test_the_count_of_tokens_is_an_object() -> None:
    assert DIALECT.counted(12) == b'{"input_tokens":12}'
