"""Anthropic's whole answers and its errors."""

import contextlib
from typing import Any

import msgspec
import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.anthropic import AnthropicVocabulary, read_error
from adapters.providers.vocabulary import ErrorInAnswer
from domain.answer import Answer, Citation, Finished, whole
from domain.chat import RedactedThinking, Refusal, Text, Thinking, ToolUse
from domain.pricing import Tokens

VOCABULARY = AnthropicVocabulary()
CITED = {
    "type": "web_search_result_location",
    "cited_text": "It rained.",
    "encrypted_index": "x",
    "title": "Weather",
    "url": "https://weather.test",
}


def message(*content: dict[str, Any], **members: Any) -> bytes:
    """Checked against the vendor's own type."""
    made: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": content,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 7},
    } | members
    Message.model_validate(made)
    return msgspec.json.encode(made)


def answer(*content: dict[str, Any], **members: Any) -> Answer:
    return whole(VOCABULARY.read(message(*content, **members)))


def test_an_answer_has_its_text_its_model_and_its_usage() -> None:
    found = answer({"type": "text", "text": "Hello"}, {"type": "text", "text": " you"})

    assert (found.id, found.model, found.choices[0].text) == ("msg_1", "claude-sonnet-4-5-20250929", "Hello you")
    assert found.choices[0].finish == Finished("stop")
    assert found.usage is not None
    assert found.usage.tokens == Tokens(input=5, output=7)
    assert bytes(found.usage.raw) == b'{"input_tokens":5,"output_tokens":7}'


def test_thoughts_keep_their_signatures_and_their_order() -> None:
    found = answer(
        {"type": "thinking", "thinking": "Hm.", "signature": "s1"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "thinking", "thinking": "", "signature": "s2"},
        {"type": "text", "text": "So."},
    )

    assert found.choices[0].parts == (
        Thinking(text="Hm.", signature="s1"),
        RedactedThinking(data="xyz"),
        Thinking(text="", signature="s2"),
        Text(text="So."),
    )


def test_tool_calls_are_numbered_among_themselves() -> None:
    found = answer(
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "é"}},
        {"type": "tool_use", "id": "toolu_2", "name": "wait", "input": {}},
        stop_reason="tool_use",
    )

    assert found.choices[0].parts[1:] == (
        ToolUse(id="toolu_1", name="look", arguments='{"at":"é"}'),
        ToolUse(id="toolu_2", name="wait", arguments="{}"),
    )
    assert found.choices[0].finish.reason == "tool_calls"


def test_sources_are_told_with_the_text_they_support() -> None:
    found = answer({"type": "text", "text": "It rained.", "citations": [CITED]})

    assert found.choices[0].citations == (
        Citation(msgspec.Raw(msgspec.json.encode(CITED)), url="https://weather.test", title="Weather"),
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "pause"),
        ("refusal", "refusal"),
        (None, "stop"),
    ],
)
def test_a_stop_reason_is_a_finish_reason(said: str | None, reason: str) -> None:
    assert answer({"type": "text", "text": "."}, stop_reason=said).choices[0].finish.reason == reason


def test_a_stop_reason_that_nobody_knows_is_a_stop() -> None:
    body = message({"type": "text", "text": "."}).replace(b"end_turn", b"moon_phase")

    assert whole(VOCABULARY.read(body)).choices[0].finish == Finished("stop")


def test_the_stop_sequence_that_was_met_is_told() -> None:
    found = answer({"type": "text", "text": "1 2"}, stop_reason="stop_sequence", stop_sequence="3")

    assert found.choices[0].finish == Finished("stop_sequence", stop_sequence="3")


def test_a_refusal_says_why_where_anthropic_does() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "This could do harm."}

    assert answer(stop_reason="refusal", stop_details=details).choices[0].parts == (
        Refusal(text="This could do harm."),
    )
    assert answer(stop_reason="refusal").choices[0].parts == ()


def test_blocks_of_unknown_kinds_are_passed_by() -> None:
    body = message({"type": "text", "text": "Hello"}).replace(
        b'"content":[', b'"content":[{"type":"hologram","text":{"deep":1},"name":7},'
    )

    assert whole(VOCABULARY.read(body)).choices[0].text == "Hello"


def test_an_answer_without_usage_reports_none() -> None:
    body = message({"type": "text", "text": "Hello"}).replace(b'{"input_tokens":5,"output_tokens":7}', b"null")

    assert whole(VOCABULARY.read(body)).usage is None


def test_an_error_in_a_good_answer_is_told_in_its_own_words() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded","details":{"error_code":"c1"}}}'

    with pytest.raises(ErrorInAnswer) as raised:
        VOCABULARY.read(body)

    assert (str(raised.value), raised.value.error_type, raised.value.code) == ("Overloaded", "overloaded_error", "c1")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"<html>",
        b'{"content":null}',
        b'{"content":[{}]}',
        b'{"content":[{"type":"text","text":5}]}',
        b'{"content":[{"type":"text","text":"\xff"}]}',
        b'{"content":[{"type":"tool_use","id":"a","name":"b","input":{"x":"\xff"}}]}',
        b'{"content":[{"type":"text","text":"a","citations":[7]}]}',
        b'{"content":[{"type":"tool_use","input":' + b"[" * 100_000,
    ],
)
def test_what_is_not_a_message_is_an_error(body: bytes) -> None:
    with pytest.raises(ErrorInAnswer):
        VOCABULARY.read(body)


@given(st.binary())
def test_no_bytes_make_a_reader_fail_otherwise(body: bytes) -> None:
    read_error(body)
    with contextlib.suppress(ErrorInAnswer):
        VOCABULARY.read(body)


_WHOLE = msgspec.json.decode(
    message(
        {"type": "thinking", "thinking": "Hm.", "signature": "s1"},
        {"type": "text", "text": "It rained.", "citations": [CITED]},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": 1}},
        stop_reason="tool_use",
    )
)
_anything = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()) | st.just({"type": "text"})


@given(
    st.sampled_from(sorted(_WHOLE)), st.integers(0, 2), st.sampled_from(["type", "text", "input", "name"]), _anything
)
def test_a_message_with_odd_members_is_read_or_an_error(member: str, block: int, inner: str, odd: object) -> None:
    content = [dict(found, **{inner: odd}) if at == block else found for at, found in enumerate(_WHOLE["content"])]
    for body in ({**_WHOLE, member: odd}, {**_WHOLE, "content": content}):
        with contextlib.suppress(ErrorInAnswer):
            whole(VOCABULARY.read(msgspec.json.encode(body)))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b'{"type":"error","error":{"type":"not_found_error","message":"model: x"},"request_id":"req_1"}',
            ("model: x", "not_found_error", None),
        ),
        (
            b'{"error":{"type":"forbidden","message":"Request not allowed"}}',
            ("Request not allowed", "forbidden", None),
        ),
        (
            b'{"error":{"type":"t","message":"m","details":{"error_visibility":"user_facing","error_code":"e1"}}}',
            ("m", "t", "e1"),
        ),
        (b'{"error":{"type":"api_error","message":null,"details":null}}', ("api_error", "api_error", None)),
        (b'{"error":{"type":"t","message":"m","details":[7]}}', ("m", "t", None)),
    ],
)
def test_an_error_is_read_in_anthropics_words(body: bytes, said: tuple[str, str, str | None]) -> None:
    error = read_error(body)

    assert error is not None
    assert (error.message, error.error_type, error.code) == said


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"error":null}', b'{"error":{}}', b'{"error":"no"}'])
def test_what_is_not_anthropics_error_is_none(body: bytes) -> None:
    assert read_error(body) is None
