"""Cohere's answers, whole and streamed, as events; and whatever else comes over the wire, as an error."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.cohere.chat import CohereVocabulary
from adapters.providers.cohere.errors import read_error
from adapters.providers.vocabulary import ErrorInAnswer, VendorError
from domain.answer import Answer, AnswerEvent, Finished, Started, TextDelta, ThinkingDelta, TokenLogprob, Used, whole
from domain.chat import Text, Thinking, ToolUse
from domain.pricing import Tokens
from tests.cohere_events import DONE, PLANNED, SPOKEN, end, event

COHERE = CohereVocabulary()
USAGE = {
    "billed_units": {"input_tokens": 80, "output_tokens": 301},
    "tokens": {"input_tokens": 1494, "output_tokens": 330},
    "cached_tokens": 1008,
}
CITATION = {
    "start": 0,
    "end": 3,
    "text": "Sky",
    "sources": [{"type": "document", "document": {"title": "T", "url": 5}}],
}
ANSWER: dict[str, Any] = {
    "id": "a1",
    "message": {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Sky."}, {"type": "new"}],
        "tool_plan": None,
        "citations": [CITATION],
    },
    "finish_reason": "COMPLETE",
    "usage": USAGE,
    "logprobs": [{"text": "Sky.", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}, {"token_ids": [3]}],
}
CALLING: dict[str, Any] = {
    "id": "a2",
    "message": {
        "tool_plan": "I will look.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
            {"id": "c2", "type": "function", "function": {"name": "clock", "arguments": None}},
        ],
    },
    "finish_reason": "TOOL_CALL",
}


def read(answer: Any) -> Answer:
    return whole(COHERE.read(msgspec.json.encode(answer)))


def stream(*data: bytes) -> list[AnswerEvent]:
    reader = COHERE.reader()
    events: list[AnswerEvent] = []
    for piece in data:
        assert not reader.ended or piece == DONE
        events += reader.read(piece)
    assert reader.ended
    return events


def failure(body: bytes) -> ErrorInAnswer:
    with pytest.raises(ErrorInAnswer) as failed:
        COHERE.read(body)
    return failed.value


def test_a_whole_answer_keeps_thoughts_text_citations_and_logprobs() -> None:
    answer = read(ANSWER)

    (choice,) = answer.choices
    assert (answer.id, answer.model) == ("a1", "")
    assert choice.parts == (Thinking(text="Hm"), Text(text="Sky."))
    assert choice.finish == Finished("stop")
    assert choice.logprobs == (TokenLogprob("Sky.", -0.75, tuple(b"Sky.")),)
    (citation,) = choice.citations
    assert (citation.title, citation.url, msgspec.json.decode(citation.raw)) == ("T", None, CITATION)


def test_what_is_billed_is_what_is_used_and_the_report_stays_verbatim() -> None:
    usage = read(ANSWER).usage

    assert usage is not None
    assert usage.tokens == Tokens(input=80, output=301)
    assert msgspec.json.decode(usage.raw) == USAGE


TOKENS = {"input_tokens": 100, "output_tokens": 9}


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"tokens": TOKENS, "cached_tokens": 96}, Tokens(input=4, cached_input=96, output=9)),
        ({"tokens": TOKENS, "cached_tokens": 960}, Tokens(cached_input=100, output=9)),
        ({"billed_units": {}, "tokens": TOKENS, "cached_tokens": None}, Tokens(input=100, output=9)),
        ({"billed_units": {"search_units": 1}, "tokens": TOKENS}, Tokens(input=100, output=9)),
        ({"billed_units": {"input_tokens": 7.0}}, Tokens(input=7)),
        ({"billed_units": {"input_tokens": 0, "output_tokens": 0}, "tokens": TOKENS}, Tokens()),
        ({"billed_units": {"input_tokens": 7.5}}, None),
        ({"billed_units": {"input_tokens": -1, "output_tokens": 2}, "tokens": TOKENS}, None),
        ({"billed_units": {"input_tokens": 10**9 + 1}}, None),
        ({"billed_units": {"input_tokens": "7"}}, None),
        ({"billed_units": 7}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_counts_are_taken_as_billed_or_not_at_all(usage: Any, tokens: Tokens | None) -> None:
    reported = read(ANSWER | {"usage": usage}).usage

    assert (reported and reported.tokens) == tokens


def test_a_plan_is_text_before_the_tools_it_calls() -> None:
    (choice,) = read(CALLING).choices

    assert choice.parts == (
        Text(text="I will look."),
        ToolUse(id="c1", name="weather", arguments='{"city":"Rome"}'),
        ToolUse(id="c2", name="clock", arguments="{}"),
    )
    assert choice.finish == Finished("tool_calls")


@pytest.mark.parametrize(
    ("said", "with_tools", "without"),
    [
        ("COMPLETE", "tool_calls", "stop"),
        ("TOOL_CALL", "tool_calls", "stop"),
        ("MAX_TOKENS", "length", "length"),
        ("STOP_SEQUENCE", "stop_sequence", "stop_sequence"),
        ("SOMETHING_NEW", "tool_calls", "stop"),
        (None, "tool_calls", "stop"),
    ],
)
def test_finish_reasons(said: str | None, with_tools: str, without: str) -> None:
    assert read(CALLING | {"finish_reason": said}).choices[0].finish.reason == with_tools
    assert read(ANSWER | {"finish_reason": said}).choices[0].finish.reason == without
    assert stream(*PLANNED[:-2], end(said), DONE)[-1] == Finished(with_tools)  # type: ignore[arg-type]
    assert stream(*SPOKEN[:-2], end(said), DONE)[-1] == Finished(without)  # type: ignore[arg-type]


def test_a_streamed_answer_is_told_as_it_comes() -> None:
    events = stream(*SPOKEN)

    assert events[:4] == [Started("s1"), ThinkingDelta("Hm"), TextDelta("Sk"), TextDelta("y.")]
    (choice,) = whole(events).choices
    assert choice.logprobs == (TokenLogprob("y.", -0.5, tuple(b"y.")),)
    assert [citation.url for citation in choice.citations] == ["https://a/b"]
    assert events[-2] == Finished("stop")
    assert isinstance(events[-1], Used)
    assert events[-1].usage.tokens == Tokens(input=12, output=65)
    assert bytes(events[-1].usage.raw) in SPOKEN[-2]


def test_streamed_tool_calls_are_counted_from_0_whatever_their_index() -> None:
    answer = whole(stream(*PLANNED))

    assert answer.choices[0].parts == (
        Text(text="I will."),
        ToolUse(id="c1", name="weather", arguments='{"city":"Rome"}'),
        ToolUse(id="c2", name="clock", arguments="{}"),
    )
    assert answer.choices[0].finish == Finished("tool_calls")


def test_a_stream_has_ended_at_the_end_of_its_message_only() -> None:
    reader = COHERE.reader()
    for data in SPOKEN[:-2]:
        reader.read(data)
        assert not reader.ended
    reader.read(DONE)
    assert not reader.ended

    reader.read(SPOKEN[-2])
    assert reader.ended


@pytest.mark.parametrize(
    ("said", "message", "kind"),
    [
        ({"finish_reason": "ERROR", "error": "internal error", "usage": {}}, "internal error", "ERROR"),
        (
            {"finish_reason": "ERROR", "error": "bad tool", "error_type": "INVALID_TOOL_GENERATION"},
            "bad tool",
            "INVALID_TOOL_GENERATION",
        ),
        ({"finish_reason": "ERROR"}, "Cohere failed to make an answer.", "ERROR"),
        ({"finish_reason": "TIMEOUT"}, "Cohere did not finish its answer in time.", "TIMEOUT"),
        ({"finish_reason": "COMPLETE", "error": "late"}, "late", "COMPLETE"),
    ],
)
def test_an_answer_that_ends_in_an_error_is_none(said: dict[str, Any], message: str, kind: str) -> None:
    reader = COHERE.reader()
    with pytest.raises(ErrorInAnswer) as streamed:
        reader.read(event("message-end", delta=said))
    answered = failure(msgspec.json.encode(ANSWER | said))

    assert not reader.ended
    for error in (streamed.value, answered):
        assert (str(error), error.error_type) == (message, kind)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"id":"1","message":"invalid api token"}', VendorError(message="invalid api token")),
        (
            b'{"id":"1","message":"no","error_type":"INVALID_TOOL_GENERATION"}',
            VendorError(message="no", error_type="INVALID_TOOL_GENERATION"),
        ),
        (b'{"error":"trial key"}', VendorError(message="trial key")),
        (b"<!doctype html><title>403</title>403 Forbidden", None),
        (b'{"id":"1"}', None),
        (b'{"message":"\xff"}', None),
        (b"[" * 100_000, None),
        (b"", None),
    ],
)
def test_errors_are_read_where_there_is_one(body: bytes, error: VendorError | None) -> None:
    assert read_error(body) == error
    assert str(failure(body)) == (error.message if error else "Cohere's answer is not readable.")
    with pytest.raises(ErrorInAnswer):
        COHERE.reader().read(body)


@pytest.mark.parametrize(
    "data",
    [
        event("tool-call-delta", index=0, delta={"message": {"tool_calls": {"function": {"arguments": "{"}}}}),
        event("tool-call-start", index=0, delta={"message": {"tool_calls": {"id": "c1"}}}),
        event("citation-start", index=0, delta={"message": {"citations": 5}}),
        event("content-delta", index=0, delta={"message": {"content": 5}}),
        event("citation-start", delta={"message": {"citations": {"text": "?"}}}).replace(b"?", b"\xff"),
        event("content-delta", later="?").replace(b"?", b"\xff"),
    ],
)
def test_events_that_make_no_sense_are_errors(data: bytes) -> None:
    with pytest.raises(ErrorInAnswer):
        COHERE.reader().read(data)


@pytest.mark.parametrize(
    "data",
    [
        event("debug", prompt="<BOS>"),
        event("content-end", index=0),
        event("citation-end", index=0),
        event("content-delta", index=0, delta=None),
        event("citation-start", delta={"message": {"citations": []}}),
        event("something-new", delta={"message": {"content": {"text": "?"}}}),
        DONE,
    ],
)
def test_events_that_say_nothing_make_nothing(data: bytes) -> None:
    assert list(COHERE.reader().read(data)) == []


@given(st.binary())
def test_any_bytes_are_an_error_at_worst(data: bytes) -> None:
    assert_readable_or_error(data)


@given(st.data())
def test_a_reply_with_any_member_changed_is_an_error_at_worst(data: st.DataObject) -> None:
    wire = data.draw(st.sampled_from([msgspec.json.encode(ANSWER), msgspec.json.encode(CALLING), *SPOKEN, *PLANNED]))
    place = data.draw(st.integers(0, len(wire) - 1))
    assert_readable_or_error(wire[:place] + data.draw(st.binary(max_size=3)) + wire[place + 1 :])
    if wire != DONE:
        assert_readable_or_error(msgspec.json.encode(_mutated(data, msgspec.json.decode(wire))))


def _mutated(data: st.DataObject, value: Any) -> Any:
    """With one value anywhere inside replaced by another kind of value."""
    if isinstance(value, dict | list) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
        value[key] = _mutated(data, value[key])
        return value
    return data.draw(st.sampled_from([None, True, -1, 1.5, 10**30, "x", [], {}, [None], ["x"], {"x": 1}]))


def assert_readable_or_error(data: bytes) -> None:
    for read_it in (lambda: whole(COHERE.read(data)), lambda: COHERE.reader().read(data)):
        with suppress(ErrorInAnswer):
            msgspec.json.encode(read_it())
