"""Anthropic's streamed answers."""

from typing import Any

import msgspec
import pytest
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from adapters.providers.anthropic import AnthropicVocabulary
from adapters.providers.anthropic.streams import AnthropicStreamReader
from adapters.providers.vocabulary import ErrorInAnswer
from domain.answer import (
    AnswerEvent,
    Citation,
    Finished,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolArguments,
    ToolStarted,
    Used,
    whole,
)
from domain.chat import RedactedThinking, Text, Thinking, ToolUse
from domain.pricing import Tokens

_known_event: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def event(kind: str, **members: Any) -> bytes:
    """Checked against the vendor's own type."""
    made = {"type": kind, **members}
    _known_event.validate_python(made)
    return msgspec.json.encode(made)


def start(**usage: Any) -> bytes:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 25, "output_tokens": 1} | usage,
    }
    return event("message_start", message=message)


def block(index: int, **content: Any) -> bytes:
    return event("content_block_start", index=index, content_block=content)


def text(index: int = 0) -> bytes:
    return block(index, type="text", text="")


def tool(index: int, ident: str) -> bytes:
    return block(index, type="tool_use", id=ident, name="look", input={})


def delta(index: int, kind: str, **members: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **members})


def stop(index: int = 0) -> bytes:
    return event("content_block_stop", index=index)


def end(reason: str = "end_turn", sequence: str | None = None, **usage: Any) -> bytes:
    said = {"stop_reason": reason, "stop_sequence": sequence}
    return event("message_delta", delta=said, usage={"output_tokens": 15} | usage)


END = event("message_stop")
PING = b'{"type": "ping"}'


def read(*data: bytes) -> list[AnswerEvent]:
    reader = AnthropicVocabulary().reader()
    return [found for each in data for found in reader.read(each)]


def test_a_stream_is_told_as_it_comes() -> None:
    events = read(
        start(),
        text(),
        PING,
        delta(0, "text_delta", text="Hel"),
        delta(0, "text_delta", text="lo"),
        stop(),
        end(),
        END,
    )

    assert [found for found in events if not isinstance(found, Used)] == [
        Started("msg_1", "claude-opus-5"),
        TextDelta("Hel"),
        TextDelta("lo"),
        Finished("stop"),
    ]


def test_a_stream_has_ended_with_its_last_event_only() -> None:
    reader = AnthropicStreamReader()

    for data in (start(), end()):
        reader.read(data)
        assert not reader.ended
    reader.read(END)

    assert reader.ended


def test_the_mark_of_others_is_no_end() -> None:
    reader = AnthropicStreamReader()

    assert not reader.read(b"[DONE]")
    assert not reader.ended


def test_a_cut_stream_has_reported_what_it_had_used() -> None:
    (used,) = [found for found in read(start(cache_read_input_tokens=100)) if isinstance(found, Used)]

    assert used.usage.tokens == Tokens(input=25, cached_input=100, output=1)


def test_the_last_report_that_is_not_null_counts() -> None:
    usage = whole(
        read(
            start(cache_read_input_tokens=100),
            end(input_tokens=40, cache_read_input_tokens=None, output_tokens_details={"thinking_tokens": 5}),
            END,
        )
    ).usage

    assert usage is not None
    assert usage.tokens == Tokens(input=40, cached_input=100, output=10, reasoning=5)
    assert msgspec.json.decode(usage.raw) == {
        "input_tokens": 40,
        "output_tokens": 15,
        "cache_read_input_tokens": 100,
        "output_tokens_details": {"thinking_tokens": 5},
    }


def test_tool_calls_are_numbered_among_themselves() -> None:
    events = read(
        start(),
        text(0),
        stop(0),
        tool(1, "toolu_1"),
        delta(1, "input_json_delta", partial_json=""),
        delta(1, "input_json_delta", partial_json='{"at":'),
        delta(1, "input_json_delta", partial_json="1}"),
        stop(1),
        tool(2, "toolu_2"),
        stop(2),
        end("tool_use"),
        END,
    )

    assert [found for found in events if isinstance(found, ToolStarted | ToolArguments | Finished)] == [
        ToolStarted(0, "toolu_1", "look"),
        ToolArguments(0, '{"at":'),
        ToolArguments(0, "1}"),
        ToolStarted(1, "toolu_2", "look"),
        ToolArguments(1, "{}"),
        Finished("tool_calls"),
    ]


def test_a_tool_call_that_came_whole_or_never_ended_has_its_arguments() -> None:
    came_whole = block(0, type="tool_use", id="toolu_1", name="look", input={"at": 1})

    (choice,) = whole(read(start(), came_whole, tool(1, "toolu_2"), end("tool_use"), END)).choices

    assert choice.parts == (
        ToolUse(id="toolu_1", name="look", arguments='{"at":1}'),
        ToolUse(id="toolu_2", name="look", arguments="{}"),
    )


def test_thoughts_keep_their_signatures() -> None:
    events = read(
        start(),
        block(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="Hm."),
        delta(0, "signature_delta", signature="s1"),
        stop(0),
        block(1, type="redacted_thinking", data="xyz"),
        stop(1),
        block(2, type="thinking", thinking="", signature=""),
        delta(2, "signature_delta", signature="s2"),
        stop(2),
        text(3),
        delta(3, "text_delta", text="So."),
        end(),
        END,
    )

    assert ThinkingDelta("", signature="s1") in events
    assert whole(events).choices[0].parts == (
        Thinking(text="Hm.", signature="s1"),
        RedactedThinking(data="xyz"),
        Thinking(text="", signature="s2"),
        Text(text="So."),
    )


def test_a_source_is_told() -> None:
    cited = {
        "type": "char_location",
        "cited_text": "Rain.",
        "document_index": 0,
        "document_title": "Diary",
        "start_char_index": 0,
        "end_char_index": 5,
    }

    events = read(start(), text(), delta(0, "citations_delta", citation=cited))

    assert events[-1] == Citation(msgspec.Raw(msgspec.json.encode(cited)), title="Diary")


def test_a_refusal_says_why_before_it_finishes() -> None:
    said = {"stop_reason": "refusal", "stop_sequence": None, "stop_details": {"type": "refusal", "explanation": "No."}}

    events = read(start(), event("message_delta", delta=said, usage={"output_tokens": 1}), END)

    assert [found for found in events if isinstance(found, RefusalDelta | Finished)] == [
        RefusalDelta("No."),
        Finished("refusal"),
    ]


def test_the_stop_sequence_that_was_met_is_told() -> None:
    assert Finished("stop_sequence", stop_sequence="3") in read(start(), end("stop_sequence", "3"), END)


def test_a_stream_finishes_once() -> None:
    twice = [found for found in read(start(), end(), end("max_tokens"), END) if isinstance(found, Finished)]
    never = [found for found in read(start(), END) if isinstance(found, Finished)]

    assert twice == never == [Finished("stop")]


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"moonrise","index":"first","delta":7}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"hologram_delta","text":{"deep":1}}}',
        b'{"type":"content_block_start","index":0,"content_block":{"type":"hologram","name":7}}',
        b'{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"n"}}',
        b'{"type":"content_block_delta","index":9,"delta":{"type":"input_json_delta","partial_json":"{}"}}',
        b'{"type":"content_block_stop","index":9}',
        b'{"type":"message_delta","delta":null,"usage":null}',
    ],
)
def test_what_is_of_no_concern_is_passed_by(data: bytes) -> None:
    assert not read(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "Overloaded"),
        (b'{"error":{"type":"api_error","message":"Broken"}}', "Broken"),
        (b'{"type":"error"}', "The provider's answer is not a message."),
    ],
)
def test_an_error_is_told_in_its_own_words(data: bytes, said: str) -> None:
    with pytest.raises(ErrorInAnswer) as raised:
        read(start(), data)

    assert str(raised.value) == said
