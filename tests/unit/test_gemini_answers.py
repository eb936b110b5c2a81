"""Gemini's answers, streamed and whole, as events."""

import re
from typing import Any

import msgspec
import pytest

from adapters.providers.gemini import GeminiVocabulary
from adapters.providers.vocabulary import ErrorInAnswer
from domain.answer import (
    AnswerEvent,
    Citation,
    Finished,
    Logprobs,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolArguments,
    ToolStarted,
    Used,
    whole,
)
from domain.chat import ToolUse

GEMINI = GeminiVocabulary()
USAGE = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}


def chunk(*parts: dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
    """An event with one candidate."""
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    answer = {"candidates": [candidate], "modelVersion": "gemini-3.6-flash", "responseId": "FyIhav7bJNyw4-EP6eCsqA0"}
    return answer | more


def called(name: str = "weather", **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": {"city": "Rome"}} | more}


def body(answer: Any) -> bytes:
    return msgspec.json.encode(answer)


def read(answer: Any) -> list[AnswerEvent]:
    """Without the start."""
    return [event for event in GEMINI.read(body(answer)) if not isinstance(event, Started)]


def streamed(*chunks: Any) -> tuple[list[AnswerEvent], bool]:
    reader = GEMINI.reader()
    events = [event for data in chunks for event in reader.read(body(data))]
    return events, reader.ended


def test_a_stream_is_read_in_the_order_of_its_parts() -> None:
    events, ended = streamed(
        chunk({"text": "Hm", "thought": True}),
        chunk({"text": "Hel"}),
        chunk({"text": "lo", "thoughtSignature": "c2ln"}),
        chunk({"text": ""}, reason="STOP", usageMetadata=USAGE),
    )

    assert events[:-1] == [
        Started("FyIhav7bJNyw4-EP6eCsqA0", "gemini-3.6-flash"),
        ThinkingDelta("Hm"),
        TextDelta("Hel"),
        TextDelta("lo", 0, "c2ln"),
        Finished("stop"),
    ]
    assert isinstance(events[-1], Used)
    assert ended


def test_a_signature_on_an_empty_text_is_kept() -> None:
    assert TextDelta("", 0, "c2ln") in read(chunk({"text": "", "thoughtSignature": "c2ln"}, reason="STOP"))
    assert TextDelta("", 0, "c2ln") in read(chunk({"thoughtSignature": "c2ln"}, reason="STOP"))


def test_a_signature_of_a_thought_is_marked_as_geminis() -> None:
    events = read(chunk({"text": "Hm", "thought": True, "thoughtSignature": "c2ln"}, reason="STOP"))

    assert events[:2] == [ThinkingDelta("Hm"), ThinkingDelta("", 0, "gemini:c2ln")]


def test_calls_make_a_stop_a_call_of_tools_also_when_they_came_earlier() -> None:
    events, _ = streamed(
        chunk(called(id="dv8szvqe") | {"thoughtSignature": "c2ln"}),
        chunk(called(id="j80tal12")),
        chunk({"text": ""}, reason="STOP"),
    )

    assert events[1:] == [
        ToolStarted(0, "dv8szvqe", "weather", 0, "c2ln"),
        ToolArguments(0, '{"city":"Rome"}'),
        ToolStarted(1, "j80tal12", "weather"),
        ToolArguments(1, '{"city":"Rome"}'),
        Finished("tool_calls"),
    ]


@pytest.mark.parametrize("response_id", ["FyIhav7bJNyw4-EP6eCsqA0", "", "short", "with space and much else"])
def test_calls_without_an_id_get_one_that_no_other_answer_has(response_id: str) -> None:
    answer = chunk(called(), called(), reason="STOP", responseId=response_id)
    other = answer | {"responseId": answer["responseId"].replace("F", "G")}
    ids = [part.id for made in (answer, other) for part in whole(GEMINI.read(body(made))).choices[0].parts
           if isinstance(part, ToolUse)]  # fmt: skip

    assert len(set(ids)) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,40}", ident) for ident in ids)


@pytest.mark.parametrize(
    ("args", "expected"),
    [("", "{}"), (',"args":null', "{}"), (',"args":{ "a" : 1.50,\n "b":[] }', '{"a":1.50,"b":[]}')],
)
def test_arguments_are_compact_and_keep_their_numbers(args: str, expected: str) -> None:
    data = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"%s}}]}}]}' % args.encode()
    (part,) = whole(GEMINI.read(data)).choices[0].parts

    assert isinstance(part, ToolUse)
    assert part.arguments == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        ("OTHER", "stop"),
        ("SOMETHING_NEW", "stop"),
        ("MODEL_ARMOR", "content_filter"),
        *((name, "content_filter") for name in "SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII".split()),
        *((f"IMAGE_{name}", "content_filter") for name in "SAFETY PROHIBITED_CONTENT RECITATION OTHER".split()),
    ],
)
def test_every_end_has_a_word(reason: str, expected: str) -> None:
    assert read(chunk({"text": "Hi"}, reason=reason))[-1] == Finished(expected)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"])
def test_an_end_that_is_a_failure_is_an_error_in_geminis_words(reason: str) -> None:
    answer = chunk(called(), reason=reason)
    answer["candidates"][0]["finishMessage"] = "Tried to call list_files"

    with pytest.raises(ErrorInAnswer, match="Tried to call list_files") as failure:
        read(answer)

    assert failure.value.code == reason


def test_a_whole_answer_without_a_finish_reason_is_finished() -> None:
    assert read(chunk(called()))[-1] == Finished("tool_calls")


def test_a_blocked_prompt_is_a_filtered_answer_that_reports_its_usage() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}}

    events, ended = streamed(blocked)

    assert ended
    assert events[1] == Finished("content_filter")
    assert [event.usage.tokens.input for event in events if isinstance(event, Used)] == [9]
    assert read(blocked)[0] == Finished("content_filter")


def test_a_stream_ends_when_all_its_candidates_have() -> None:
    def part(number: int, text: str, reason: str | None = None) -> dict[str, Any]:
        said = {"index": number, "content": {"parts": [{"text": text}]}, "finishReason": reason}
        return {name: value for name, value in said.items() if value is not None}

    chunks = [{"candidates": [part(0, "a"), part(1, "b")]}, {"candidates": [part(1, "d", "STOP")]}]
    last: dict[str, Any] = {"candidates": [part(0, "c", "MAX_TOKENS"), part(1, "", "STOP")]}
    events, ended = streamed(*chunks, last)
    answer = whole(events)

    assert not streamed(*chunks)[1]
    assert ended
    assert [(choice.text, choice.finish.reason) for choice in answer.choices] == [("ac", "length"), ("bd", "stop")]
    assert sum(isinstance(event, Finished) for event in events) == 2


def test_parts_that_gemini_ran_itself_and_unknown_ones_are_passed_over() -> None:
    events = read(
        chunk(
            {"executableCode": {"code": "1", "language": "PYTHON"}},
            {"codeExecutionResult": {"output": "1"}},
            {"inlineData": {"mimeType": "image/png", "data": ""}},
            {"somethingNew": []},
            {"text": "One"},
            reason="STOP",
        )
    )

    assert events == [TextDelta("One"), Finished("stop")]


def test_logprobs_come_with_their_alternatives() -> None:
    answer = chunk({"text": "Hello"}, reason="STOP")
    chosen = [{"token": "Hello", "logProbability": -0.5, "tokenId": 9259}, {"token": "!"}]
    top = [{"candidates": [{"token": "Hello", "logProbability": -0.5}, {"token": "Hi", "logProbability": -2}]}]
    answer["candidates"][0]["logprobsResult"] = {"chosenCandidates": chosen, "topCandidates": top}

    hello = TokenLogprob("Hello", -0.5, top=(TokenLogprob("Hello", -0.5), TokenLogprob("Hi", -2.0)))
    assert Logprobs((hello, TokenLogprob("!", 0.0))) in read(answer)


def test_citations_name_their_source() -> None:
    answer = chunk({"text": "Hello"}, reason="STOP")
    answer["candidates"][0]["citationMetadata"] = {"citationSources": [{"uri": "https://a.example", "endIndex": 5}]}
    (citation,) = [event for event in read(answer) if isinstance(event, Citation)]

    assert citation.url == "https://a.example"
    assert msgspec.json.decode(citation.raw) == {"uri": "https://a.example", "endIndex": 5}


def test_the_models_name_comes_without_its_prefix() -> None:
    events = GEMINI.read(body(chunk({"text": "Hi"}, reason="STOP", modelVersion="models/gemini-2.5-flash")))

    assert events[0] == Started("FyIhav7bJNyw4-EP6eCsqA0", "gemini-2.5-flash")


@pytest.mark.parametrize("is_list", [False, True])
def test_an_error_in_a_stream_is_raised_in_geminis_words(is_list: bool) -> None:
    error = {"error": {"code": 500, "message": "An internal error has occurred.", "status": "INTERNAL"}}
    reader = GEMINI.reader()
    reader.read(body(chunk({"text": "Hel"})))

    with pytest.raises(ErrorInAnswer, match="An internal error") as failure:
        reader.read(body([error] if is_list else error))

    assert (failure.value.error_type, failure.value.code) == ("INTERNAL", "INTERNAL")
    assert not reader.ended


def test_an_end_mark_of_openais_says_nothing() -> None:
    reader = GEMINI.reader()

    assert reader.read(b"[DONE]") == []
    assert not reader.ended
