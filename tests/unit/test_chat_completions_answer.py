"""Answers as OpenAI's clients read them: held against the types of OpenAI's own SDK."""

from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapters.dialects.chat_completions.dialect import ChatCompletionsDialect
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
    TokenLogprob,
    ToolArguments,
    ToolStarted,
    Used,
    whole,
)
from domain.ids import RequestId
from domain.pricing import Tokens
from domain.upstream import ProviderCall, Usage

CALL = ProviderCall(
    request_id=RequestId("req_0197f0c2a1b87a6f9c3e5d2b4a1c0001"),
    endpoint="chat.completions",
    upstream_model="asked-model",
    members={},
    stream=True,
    include_usage=True,
    drop_params=False,
    input_estimate=1,
    max_output_tokens=4_096,
)
CREATED = 0x0197F0C2A1B8 // 1000
TOKENS = Tokens(
    input=1,
    cached_input=2,
    cache_write_5m=4,
    cache_write_1h=8,
    audio_input=16,
    image_input=32,
    output=64,
    reasoning=128,
    audio_output=256,
)
USAGE = {
    "prompt_tokens": 63,
    "completion_tokens": 448,
    "total_tokens": 511,
    "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 16, "cache_write_tokens": 12},
    "completion_tokens_details": {"reasoning_tokens": 128, "audio_tokens": 256},
}
USED = Used(Usage(msgspec.Raw(b"{}"), TOKENS))
RICH: list[AnswerEvent] = [
    Started("msg_1", "model-1"),
    ThinkingDelta("h"),
    ThinkingDelta("m"),
    ThinkingDelta("", signature="s1"),
    RedactedThinkingDelta("xyz"),
    TextDelta("Hel"),
    TextDelta("lo", signature="s2"),
    Citation(msgspec.Raw(b'{"start":0}'), url="https://a", title="A"),
    Citation(msgspec.Raw(b'{"start":1}')),
    Logprobs((TokenLogprob("Hello", -0.5, (72,), (TokenLogprob("Hi", -1.0),)),)),
    ToolStarted(0, "t0", "f", signature="s3"),
    ToolArguments(0, '{"a"'),
    ToolStarted(1, "t1", "g"),
    ToolArguments(0, ":1}"),
    Finished("tool_calls"),
    USED,
]


def chunks_of(events: list[AnswerEvent], call: ProviderCall = CALL) -> list[dict[str, Any]]:
    """Each is checked against the SDK's type."""
    writer = ChatCompletionsDialect().writer(call)
    written = b"".join([writer.write([event]) for event in events])
    rest, closing = writer.close()
    assert closing == b"data: [DONE]\n\n"
    lines = (written + rest).split(b"\n\n")
    assert lines.pop() == b""
    data = [line.removeprefix(b"data: ") for line in lines]
    for chunk in data:
        ChatCompletionChunk.model_validate_json(chunk, strict=True)
    return [msgspec.json.decode(chunk) for chunk in data]


def body_of(events: list[AnswerEvent]) -> dict[str, Any]:
    body = ChatCompletionsDialect().whole(whole(events), CALL)
    ChatCompletion.model_validate_json(body, strict=True)
    return msgspec.json.decode(body)


def deltas_of(events: list[AnswerEvent]) -> list[dict[str, Any]]:
    return [choice["delta"] for chunk in chunks_of(events) for choice in chunk["choices"]]


def test_a_whole_answer_says_all_that_the_model_said() -> None:
    body = body_of(RICH)

    assert {name: body[name] for name in ("id", "object", "created", "model")} == {
        "id": "chatcmpl-msg_1",
        "object": "chat.completion",
        "created": CREATED,
        "model": "model-1",
    }
    assert body["usage"] == USAGE
    [choice] = body["choices"]
    assert (choice["index"], choice["finish_reason"]) == (0, "tool_calls")
    assert choice["message"] == {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "tool_calls": [
            {
                "id": "t0",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a":1}'},
                "extra_content": {"google": {"thought_signature": "s3"}},
            },
            {"id": "t1", "type": "function", "function": {"name": "g", "arguments": ""}},
        ],
        "reasoning_content": "hm",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "hm", "signature": "s1"},
            {"type": "redacted_thinking", "data": "xyz"},
        ],
        "extra_content": {"google": {"thought_signature": "s2"}},
        "citations": [{"start": 0}, {"start": 1}],
        "annotations": [
            {
                "type": "url_citation",
                "url_citation": {"url": "https://a", "title": "A", "start_index": 0, "end_index": 5},
            }
        ],
    }
    other = {"token": "Hi", "logprob": -1.0, "bytes": None}
    assert choice["logprobs"] == {
        "content": [{"token": "Hello", "logprob": -0.5, "bytes": [72], "top_logprobs": [other]}]
    }


def test_a_plain_answer_has_no_members_that_say_nothing() -> None:
    body = body_of([TextDelta("Hello"), Finished("stop")])

    assert body["choices"][0]["message"] == {"role": "assistant", "content": "Hello", "refusal": None}
    assert "usage" not in body


CONTENTS: list[tuple[list[AnswerEvent], str | None]] = [
    ([TextDelta("")], ""),
    ([], ""),
    ([ThinkingDelta("hm")], ""),
    ([ToolStarted(0, "t", "f")], None),
    ([RefusalDelta("no")], None),
]


@pytest.mark.parametrize(("events", "content"), CONTENTS)
def test_content_is_null_where_something_else_was_said_instead(events: list[AnswerEvent], content: str | None) -> None:
    assert body_of(events)["choices"][0]["message"]["content"] == content


REASONS: list[tuple[FinishReason, str]] = [
    ("stop", "stop"),
    ("stop_sequence", "stop"),
    ("length", "length"),
    ("tool_calls", "tool_calls"),
    ("content_filter", "content_filter"),
    ("refusal", "content_filter"),
    ("pause", "stop"),
]


@pytest.mark.parametrize(("reason", "said"), REASONS)
def test_every_reason_to_finish_has_an_openai_word(reason: FinishReason, said: str) -> None:
    events: list[AnswerEvent] = [TextDelta("a"), Finished(reason)]

    assert body_of(events)["choices"][0]["finish_reason"] == said
    assert chunks_of(events)[-1]["choices"][0]["finish_reason"] == said


@pytest.mark.parametrize(
    ("provider_id", "ident"),
    [("", f"chatcmpl-{CALL.request_id}"), ("chatcmpl-9", "chatcmpl-9"), ("msg_9", "chatcmpl-msg_9")],
)
def test_an_answer_has_one_id_from_its_first_word_to_its_last(provider_id: str, ident: str) -> None:
    events: list[AnswerEvent] = [Started(provider_id), TextDelta("a"), Started("late", "late"), TextDelta("b"), USED]

    assert {chunk["id"] for chunk in chunks_of(events)} == {ident}
    assert {chunk["model"] for chunk in chunks_of(events)} == {"asked-model"}
    assert {chunk["created"] for chunk in chunks_of(events)} == {CREATED}
    assert body_of(events[:2])["id"] == ident


def test_a_streamed_answer_says_the_same_in_pieces() -> None:
    assert deltas_of(RICH) == [
        {"role": "assistant", "reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "hm", "signature": "s1"}]},
        {"thinking_blocks": [{"index": 1, "type": "redacted_thinking", "data": "xyz"}]},
        {"content": "Hel"},
        {"content": "lo"},
        {},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "t0",
                    "type": "function",
                    "function": {"name": "f", "arguments": ""},
                    "extra_content": {"google": {"thought_signature": "s3"}},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 1, "id": "t1", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {name: body_of(RICH)["choices"][0]["message"][name] for name in ("extra_content", "citations", "annotations")},
    ]


@pytest.mark.parametrize(
    "other", [TextDelta("a"), RefusalDelta("no"), ToolStarted(0, "t", "f"), RedactedThinkingDelta("xyz")]
)
def test_a_signed_block_holds_what_was_thought_since_anything_else_was_said(other: AnswerEvent) -> None:
    events = [ThinkingDelta("unsigned"), other, ThinkingDelta("signed", signature="s")]

    blocks = [block for delta in deltas_of(events) for block in delta.get("thinking_blocks", ())]

    assert [block.get("thinking") for block in blocks][-1] == "signed"
    assert body_of(events)["choices"][0]["message"]["thinking_blocks"][-1]["thinking"] == "signed"


def test_the_first_delta_of_each_choice_names_the_role_and_only_its_last_chunk_the_reason() -> None:
    events: list[AnswerEvent] = [
        TextDelta("a", 1),
        ToolStarted(0, "t", "f", 0),
        Finished("stop", 1),
        Finished("tool_calls", 0),
        Logprobs((TokenLogprob("x", 0.0),), 2),
    ]

    chunks = [choice for chunk in chunks_of(events) for choice in chunk["choices"]]

    for number in range(3):
        own = [choice for choice in chunks if choice["index"] == number]
        assert [choice["delta"].get("role") for choice in own] == ["assistant"] + [None] * (len(own) - 1)
        assert [choice["finish_reason"] is None for choice in own] == [True] * (len(own) - 1) + [False]


def test_an_answer_without_a_word_is_an_empty_message_that_is_finished() -> None:
    [chunk] = chunks_of([])

    assert chunk["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": "stop"}
    ]


def test_usage_comes_alone_in_the_last_chunk_for_a_client_that_asked() -> None:
    events: list[AnswerEvent] = [
        TextDelta("a"),
        Used(Usage(msgspec.Raw(b"{}"), Tokens(input=9))),
        Finished("stop"),
        USED,
    ]

    *others, last = chunks_of(events)

    assert last["choices"] == []
    assert last["usage"] == USAGE
    assert [chunk["usage"] for chunk in others] == [None, None]


def test_usage_stays_untold_where_nobody_asked_or_nobody_knows() -> None:
    unasked = msgspec.structs.replace(CALL, include_usage=False)

    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks_of([TextDelta("a"), USED], unasked))
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in chunks_of([TextDelta("a")]))


def test_nothing_is_written_before_there_is_something_to_say() -> None:
    writer = ChatCompletionsDialect().writer(CALL)

    assert writer.write([Started("x", "y"), TextDelta(""), ThinkingDelta(""), Finished("stop"), USED]) == b""
