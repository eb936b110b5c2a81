"""What a client of `/responses` gets: the same answer whole and streamed, in OpenAI's own shapes."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from adapters.dialects.responses.dialect import ResponsesDialect
from domain.answer import (
    AnswerEvent,
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
from domain.pricing import Tokens
from domain.upstream import Usage
from tests.responses import IDENT, SIGNED, StreamEvents, call, call_of, events_in, streamed

TOKENS = Tokens(input=5, cached_input=3, cache_write_5m=2, cache_write_1h=1, output=7, reasoning=4)
USED = Used(Usage(msgspec.Raw(b"{}"), TOKENS))
CALLING = [ToolStarted(0, "c0", "f"), ToolArguments(0, '{"a"'), ToolArguments(0, ":1}")]


def response(events: Sequence[AnswerEvent], **members: Any) -> dict[str, Any]:
    written = ResponsesDialect().whole(whole(events), call(**members))
    Response.model_validate_json(written, strict=True)
    return msgspec.json.decode(written)


def test_a_plain_answer_is_a_message() -> None:
    answered = response([Started("up_1", "theirs-1"), TextDelta("Hel"), TextDelta("lo"), Finished("stop"), USED])

    assert answered["id"] == f"resp_{IDENT}"
    assert (answered["status"], answered["model"], answered["error"]) == ("completed", "theirs-1", None)
    assert answered["created_at"] == 0x0197F0C2A1B8 // 1000
    assert answered["output"] == [
        {
            "id": f"msg_{IDENT}_0",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello"}],
        }
    ]


def test_usage_counts_the_parts_inside_their_totals() -> None:
    assert response([TextDelta("a"), USED])["usage"] == {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 3},
        "output_tokens": 11,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 22,
    }


def test_unknown_usage_is_not_zero() -> None:
    assert response([TextDelta("a")])["usage"] is None


def test_the_request_is_given_back() -> None:
    said: dict[str, Any] = {
        "instructions": "Be kind.",
        "metadata": {"a": "b"},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 99,
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "truncation": "auto",
        "user": "u",
    }

    assert response([], **said).items() >= said.items()


def test_what_was_not_said_is_given_back_as_it_is_without() -> None:
    answered = response([], temperature=None)

    assert (answered["tools"], answered["tool_choice"], answered["parallel_tool_calls"]) == ([], "auto", True)
    assert (answered["store"], answered["previous_response_id"], answered["temperature"]) == (False, None, None)
    assert (answered["metadata"], answered["truncation"]) == ({}, "disabled")


ENDS: list[tuple[FinishReason, str, str | None]] = [
    ("stop", "completed", None),
    ("stop_sequence", "completed", None),
    ("tool_calls", "completed", None),
    ("pause", "completed", None),
    ("length", "incomplete", "max_output_tokens"),
    ("content_filter", "incomplete", "content_filter"),
    ("refusal", "incomplete", "content_filter"),
]


@pytest.mark.parametrize(("reason", "status", "why"), ENDS)
def test_an_answer_that_was_cut_is_incomplete_and_so_is_its_last_item(
    reason: FinishReason, status: str, why: str | None
) -> None:
    events = [ThinkingDelta("Hm."), TextDelta("a"), *CALLING, Finished(reason)]
    answered = response(events)
    last_event = events_in(streamed(events))[-1]

    assert answered["status"] == status
    assert (answered["incomplete_details"] or {}).get("reason") == why
    assert [item.get("status") for item in answered["output"]] == [None, "completed", status]
    assert last_event["type"] == f"response.{status}"
    assert last_event["response"] == answered


def test_thoughts_calls_and_refusals_are_items_and_parts_in_their_order() -> None:
    output = response(
        [
            ThinkingDelta("Hm"),
            ThinkingDelta("m."),
            ThinkingDelta("", signature="sig"),
            RedactedThinkingDelta("xyz"),
            TextDelta("a", signature="s1"),
            TextDelta("b"),
            RefusalDelta("no"),
            ToolStarted(0, "c0", "f", signature="s1"),
            ToolStarted(1, "", "g"),
            ToolArguments(0, '{"a":1}'),
        ]
    )["output"]

    assert [item["id"] for item in output] == [
        f"rs_{IDENT}_0",
        f"rs_{IDENT}_1",
        f"msg_{IDENT}_2",
        f"fc_{IDENT}_3",
        f"fc_{IDENT}_4",
    ]
    assert output[0]["summary"] == [{"type": "summary_text", "text": "Hmm."}]
    assert [item.get("encrypted_content") for item in output[:2]] == ["sig", "redacted_thinking:xyz"]
    assert [part.get("text", part.get("refusal")) for part in output[2]["content"]] == ["a", "b", "no"]
    assert output[2]["content"][0]["extra_content"] == output[3]["extra_content"] == SIGNED
    assert [(item["call_id"], item["name"], item["arguments"]) for item in output[3:]] == [
        ("c0", "f", '{"a":1}'),
        (f"call_{IDENT}_4", "g", "{}"),
    ]


def test_logprobs_stand_with_the_text() -> None:
    token = TokenLogprob("é", -0.5, None, (TokenLogprob("e", -1.0, (101,)),))
    events = [TextDelta("é"), Logprobs((token,)), Finished("stop")]
    scored = {"token": "é", "bytes": [195, 169], "logprob": -0.5}
    expected = [{**scored, "top_logprobs": [{"token": "e", "bytes": [101], "logprob": -1.0}]}]
    together = ResponsesDialect().writer(call())
    deltas = [
        event["logprobs"]
        for written in (together.write(events), streamed(events))
        for event in events_in(written)
        if event["type"] == "response.output_text.delta"
    ]

    assert response(events)["output"][0]["content"][0]["logprobs"] == expected
    assert events_in(streamed(events))[-1]["response"]["output"][0]["content"][0]["logprobs"] == expected
    assert deltas == [expected, [], expected]


def test_what_the_writer_says_at_first_is_that_it_began() -> None:
    writer = ResponsesDialect().writer(call(stream=True))

    assert writer.write([]) == b""
    created, in_progress = events_in(writer.write([Started("up_1", "theirs-1")]))
    assert (created["type"], in_progress["type"]) == ("response.created", "response.in_progress")
    assert (created["response"]["status"], created["response"]["model"]) == ("in_progress", "theirs-1")
    assert writer.write([USED]) == b""


def test_only_the_last_event_waits_for_the_charge() -> None:
    writer = ResponsesDialect().writer(call(stream=True))
    writer.write([TextDelta("a"), Finished("stop"), USED])
    rest, closing = writer.close()

    assert [event["type"] for event in events_in(rest)] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    assert [event["type"] for event in events_in(closing)] == ["response.completed"]


def test_an_answer_without_a_word_is_still_a_response() -> None:
    assert [event["type"] for event in events_in(streamed([]))] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]


def test_a_request_of_many_lines_is_given_back_on_one() -> None:
    sent = b'{"model":"m","input":"a","tools":[\r\n {"type":"function",\n"name":"f"}]}'
    created = events_in(streamed([], call_of(sent)))[0]

    assert created["response"]["tools"] == [{"type": "function", "name": "f"}]


def test_other_choices_are_passed_over() -> None:
    events = [TextDelta("a"), TextDelta("b", 1), ToolStarted(0, "c", "f", 1), Finished("length", 1), Finished("stop")]

    assert events_in(streamed(events))[-1]["response"] == response(events)


TEXTS = st.sampled_from(["", "a", "é\n", '"\\', "𝄞", "\u2028"])
SIGNATURES = st.sampled_from([None, None, "s1"])
FREE: st.SearchStrategy[AnswerEvent] = st.one_of(
    st.builds(TextDelta, TEXTS, signature=SIGNATURES),
    st.builds(ThinkingDelta, TEXTS, signature=SIGNATURES),
    st.builds(RefusalDelta, TEXTS),
    st.builds(RedactedThinkingDelta, TEXTS),
)


@st.composite
def answers(draw: st.DrawFn) -> list[AnswerEvent]:
    """Fragments of calls come in any order, once their call has begun."""
    events: list[AnswerEvent] = [Started("up", "theirs-1")]
    calls = 0
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.integers(0, 3))
        if kind == 0:
            events.append(ToolStarted(calls, f"c{calls}", "f", signature=draw(SIGNATURES)))
            calls += 1
        elif kind == 1 and calls:
            events.append(ToolArguments(draw(st.integers(0, calls - 1)), draw(TEXTS)))
        else:
            events.append(draw(FREE))
    reasons: list[FinishReason] = ["stop", "length", "tool_calls", "refusal"]
    return [*events, Finished(draw(st.sampled_from(reasons))), USED]


@given(answers())
def test_the_stream_and_the_whole_answer_are_the_same_response(events: list[AnswerEvent]) -> None:
    assert events_in(streamed(events))[-1]["response"] == response(events)


@given(answers())
def test_events_are_openais_own_and_numbered_without_a_gap(events: list[AnswerEvent]) -> None:
    written = events_in(streamed(events))

    for event in written:
        StreamEvents.validate_python(event)
    assert [event["sequence_number"] for event in written] == list(range(len(written)))


@given(answers())
def test_what_was_done_is_what_was_added_bit_by_bit(events: list[AnswerEvent]) -> None:
    written = events_in(streamed(events))
    deltas: dict[tuple[Any, ...], str] = {}
    done: dict[tuple[Any, ...], str] = {}
    items: dict[int, Any] = {}
    for event in written:
        kind, _, step = event["type"].removeprefix("response.").rpartition(".")
        place = (kind, event.get("output_index"), event.get("content_index"), event.get("summary_index"))
        if step == "delta":
            deltas[place] = deltas.get(place, "") + event["delta"]
        elif step == "done" and kind == "output_item":
            items[event["output_index"]] = event["item"]
        elif step == "done" and "part" not in event:
            done[place] = next(event[name] for name in ("text", "refusal", "arguments") if name in event)

    assert {place: text for place, text in done.items() if text} == {
        place: text for place, text in deltas.items() if text
    }
    assert [items[index] for index in sorted(items)] == written[-1]["response"]["output"]
    assert sorted(items) == list(range(len(items)))


def test_a_text_delta_costs_less_than_forty_microseconds() -> None:
    writer = ResponsesDialect().writer(call(stream=True))
    writer.write([TextDelta("Hello")])
    event = [TextDelta(" world")]
    took: list[float] = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(1_000):
            writer.write(event)
        took.append((time.perf_counter() - started) / 1_000)

    assert min(took) < 40e-6
