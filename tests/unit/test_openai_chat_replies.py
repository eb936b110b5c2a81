"""Answers of OpenAI, and of what speaks like it, as neutral events."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapters.providers.openai.replies import ChatStreamReader
from adapters.providers.openai.requests import OpenAIChatVocabulary
from adapters.providers.vocabulary import ErrorInAnswer, StreamReader
from domain.answer import (
    Answer,
    AnswerEvent,
    Citation,
    Finished,
    Logprobs,
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
from domain.chat import Text, Thinking
from domain.pricing import Tokens

FIXTURES = Path(__file__).parents[1] / "fixtures" / "openai"
VOCABULARY = OpenAIChatVocabulary()


def completion(*choices: dict[str, Any], **members: Any) -> bytes:
    return msgspec.json.encode({"id": "chatcmpl-1", "model": "gpt", "choices": choices, **members})


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **members: Any) -> bytes:
    return completion({"index": 0, "delta": delta, "finish_reason": finish, **members})


def streamed(*data: bytes) -> list[AnswerEvent]:
    reader: StreamReader = VOCABULARY.reader()
    return [event for one in data for event in reader.read(one)]


def answer(*data: bytes) -> Answer:
    return whole(streamed(*data, b"[DONE]"))


FULL: dict[str, Any] = {
    "index": 0,
    "message": {
        "role": "assistant",
        "content": "It rains.",
        "refusal": None,
        "reasoning_content": "hm",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
        "annotations": [
            {
                "type": "url_citation",
                "url_citation": {"start_index": 0, "end_index": 2, "url": "https://x", "title": "X"},
            }
        ],
    },
    "logprobs": {
        "content": [
            {
                "token": "It",
                "logprob": -0.5,
                "bytes": [73, 116],
                "top_logprobs": [{"token": "Er", "logprob": -2.0, "bytes": None}],
            }
        ],
        "refusal": None,
    },
    "finish_reason": "stop",
}
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def test_a_whole_answer_is_told_event_by_event() -> None:
    body = completion(FULL, object="chat.completion", created=1, usage=USAGE)
    ChatCompletion.model_validate_json(body, strict=True)

    events = VOCABULARY.read(body)

    citation, used = events.pop(3), events.pop()
    assert events == [
        Started("chatcmpl-1", "gpt"),
        ThinkingDelta("hm"),
        TextDelta("It rains."),
        ToolStarted(0, "c1", "f"),
        ToolArguments(0, '{"a":1}'),
        Logprobs((TokenLogprob("It", -0.5, (73, 116), (TokenLogprob("Er", -2.0),)),)),
        Finished("tool_calls"),
    ]
    assert isinstance(citation, Citation)
    assert (citation.url, citation.title) == ("https://x", "X")
    assert bytes(citation.raw) == msgspec.json.encode(FULL["message"]["annotations"][0])
    assert isinstance(used, Used)
    assert used.usage.tokens == Tokens(input=5, output=7)


def test_several_choices_are_told_apart_also_without_an_index() -> None:
    choices = [{"message": {"content": "a"}, "finish_reason": "stop"}, {"message": {"content": "b"}}]

    read = whole(VOCABULARY.read(completion(*choices)))

    assert [(choice.text, choice.finish.reason) for choice in read.choices] == [("a", "stop"), ("b", "stop")]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("something_new", "stop"),
        (None, "stop"),
    ],
)
def test_every_finish_reason_has_its_neutral_word(said: str | None, reason: str) -> None:
    events = VOCABULARY.read(completion({"message": {"content": "a"}, "finish_reason": said}))

    assert events[-1] == Finished(reason)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("said", ["stop", "something_new", None])
def test_a_stop_with_tool_calls_is_for_the_tool_calls(said: str | None) -> None:
    message = {"tool_calls": [{"id": "c", "function": {"name": "f"}}]}

    assert VOCABULARY.read(completion({"message": message, "finish_reason": said}))[-1] == Finished("tool_calls")
    assert streamed(chunk(message, said), b"[DONE]")[-1] == Finished("tool_calls")


@pytest.mark.parametrize("said", ["error", "insufficient_system_resource"])
def test_an_answer_that_the_provider_broke_off_is_an_error(said: str) -> None:
    with pytest.raises(ErrorInAnswer, match="broke off"):
        VOCABULARY.read(completion({"message": {"content": "a"}, "finish_reason": said}))
    with pytest.raises(ErrorInAnswer, match="broke off"):
        streamed(chunk({"content": "a"}, said))


def test_a_refusal_is_told_as_one() -> None:
    body = completion({"message": {"content": None, "refusal": "I won't."}, "finish_reason": "stop"})

    assert VOCABULARY.read(body) == [Started("chatcmpl-1", "gpt"), RefusalDelta("I won't."), Finished("stop")]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_are_told_whatever_they_are_called(name: str) -> None:
    both = {"reasoning_content": "hm", "reasoning": "hm"}

    assert answer(chunk({name: "hm"}), chunk({"content": "a"})).choices[0].parts == (
        Thinking(text="hm"),
        Text(text="a"),
    )
    assert streamed(chunk(both))[1:] == [ThinkingDelta("hm")]


def test_the_thoughts_of_mistrals_models_stand_in_their_content() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}, {"type": "reference"}]}
    parts = [thinking, {"type": "reference", "reference_ids": [1]}, {"type": "text", "text": "a"}]

    assert streamed(chunk({"content": parts}))[1:] == [ThinkingDelta("hm"), TextDelta("a")]


def test_a_stream_is_told_event_by_event_and_ends_at_its_mark() -> None:
    reader = ChatStreamReader()
    first = {"choices": [], "created": 0, "id": "", "model": "", "prompt_filter_results": []}
    data = [
        msgspec.json.encode(first),
        chunk({"role": "assistant", "content": "", "refusal": None}),
        chunk({"content": "a"}),
        chunk({}, "stop"),
        completion(usage=USAGE),
    ]

    told = [list(reader.read(one)) for one in data]

    usage = told.pop()[0]
    assert told == [[], [Started("chatcmpl-1", "gpt")], [TextDelta("a")], [Finished("stop")]]
    assert isinstance(usage, Used)
    assert usage.usage.tokens == Tokens(input=5, output=7)
    assert not reader.ended
    assert list(reader.read(b"[DONE]")) == []
    assert reader.ended


@pytest.mark.parametrize("beside", [{"usage": USAGE}, {"x_groq": {"usage": USAGE}}])
def test_usage_beside_the_last_choice_is_read_and_the_choice_finishes_once(beside: dict[str, Any]) -> None:
    again = {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}], **beside}

    events = streamed(chunk({"content": "a"}, "stop"), msgspec.json.encode(again), b"[DONE]")

    assert events.count(Finished("stop")) == 1
    assert isinstance(events[-1], Used)


def test_a_choice_that_never_finished_has_finished_at_the_end() -> None:
    assert streamed(chunk({"content": "a"}), b"[DONE]")[-1] == Finished("stop")


def test_an_error_in_a_stream_is_told_with_its_type_and_code() -> None:
    error = {"error": {"message": "Overloaded", "type": "server_error", "code": 503}}

    with pytest.raises(ErrorInAnswer, match="Overloaded") as failure:
        streamed(chunk({"content": "a"}), msgspec.json.encode(error))

    assert (failure.value.error_type, failure.value.code) == ("server_error", "503")


BROKEN = [
    b"",
    b"null",
    b"{}",
    b'{"choices":[3]}',
    b'{"choices":[{"index":-1}]}',
    b'{"choices":[{"delta":{"content":3}}]}',
    b'{"choices":[{"message":{"annotations":[{"url":"\xff"}]},"delta":{"annotations":[{"url":"\xff"}]}}]}',
    b'{"x":' + b"[" * 100_000,
]


@pytest.mark.parametrize("data", BROKEN)
def test_what_is_no_completion_is_an_error(data: bytes) -> None:
    for read in (VOCABULARY.read, VOCABULARY.reader().read):
        with pytest.raises(ErrorInAnswer):
            read(data)


def test_an_answer_without_a_choice_is_an_error() -> None:
    with pytest.raises(ErrorInAnswer, match="not a chat completion"):
        VOCABULARY.read(b'{"choices":[]}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "choices delta message content text thinking tool_calls function name arguments index id usage "
                "logprobs annotations url_citation finish_reason error prompt_tokens".split()
            ),
            inner,
            max_size=4,
        )
    ),
)


@given(st.binary() | st.builds(msgspec.json.encode, JSON) | st.builds(chunk, JSON) | st.builds(completion, JSON))  # pyright: ignore[reportArgumentType]
def test_whatever_is_read_ends_in_events_that_add_up_or_in_an_error(data: bytes) -> None:
    with suppress(ErrorInAnswer):
        whole(VOCABULARY.read(data))
    with suppress(ErrorInAnswer):
        answer(data, data)


@pytest.mark.parametrize("name", ["plain.json", "tools.json"])
@given(st.data())
def test_whatever_is_changed_in_an_answer_it_reads_or_is_an_error(name: str, data: st.DataObject) -> None:
    body = bytearray((FIXTURES / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ErrorInAnswer):
        whole(VOCABULARY.read(bytes(body)))


def test_the_chunks_of_these_tests_are_those_of_openai() -> None:
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    delta = {"role": "assistant", "tool_calls": [call]}

    ChatCompletionChunk.model_validate_json(
        completion({"index": 0, "delta": delta, "finish_reason": "stop"}, object="chat.completion.chunk", created=1),
        strict=True,
    )
