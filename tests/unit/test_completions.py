"""Text completions: checked, read as one turn of a user, and answered as OpenAI's SDK reads them."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion

from adapters.dialects.completions.dialect import CompletionsDialect
from adapters.dialects.dialect import ENTRY_TOKENS, ClientRequest
from domain.answer import (
    AnswerEvent,
    Finished,
    Logprobs,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolStarted,
    Used,
    whole,
)
from domain.catalog import Model
from domain.chat import ChatAsk, Text, Turn
from domain.errors import InvalidInput, UnsupportedParameter
from domain.ids import RequestId
from domain.pricing import Tokens
from domain.upstream import ProviderCall, Usage

DIALECT = CompletionsDialect()
MODEL = Model("m", "sim", "m", context_length=1_000_000, max_output_tokens=4_096)
CALL = ProviderCall(
    request_id=RequestId("req_0197f0c2a1b87a6f9c3e5d2b4a1c0001"),
    endpoint="completions",
    upstream_model="theirs",
    members={},
    stream=True,
    include_usage=True,
    drop_params=False,
    input_estimate=1,
    max_output_tokens=16,
)


def body(**members: Any) -> bytes:
    return json.dumps({"model": "m", "prompt": "Once", **members}).encode()


def check(**members: Any) -> ClientRequest:
    return DIALECT.check(body(**members))


def ask(**members: Any) -> ChatAsk:
    return DIALECT.read(msgspec.structs.replace(CALL, members=check(**members).members))


BAD_MEMBERS = [
    ({"model": ""}, "model", "length >= 1"),
    ({"prompt": 3}, "prompt", "Expected `str | array | null`"),
    ({"prompt": []}, "prompt", "length >= 1"),
    ({"prompt": ["a", {}]}, "prompt[1]", "Expected `int | str | array`"),
    ({"max_tokens": -1}, "max_tokens", ">= 0"),
    ({"n": 0}, "n", ">= 1"),
    ({"best_of": 129}, "best_of", "<= 128"),
    ({"logprobs": True}, "logprobs", "Expected `int | null`"),
    ({"echo": 1}, "echo", "Expected `bool | null`"),
    ({"temperature": 3}, "temperature", "<= 2"),
    ({"stream_options": {}}, "stream_options", "only allowed when `stream` is true"),
    ({"service_tier": "flex"}, "service_tier", "priced"),
]


@pytest.mark.parametrize(("members", "field", "remedy"), BAD_MEMBERS)
def test_a_bad_member_gives_one_error_that_names_it(members: dict[str, Any], field: str, remedy: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check(**members)

    assert refusal.value.field == field
    assert str(refusal.value).startswith(f"{field}: ")
    assert remedy in str(refusal.value)


@given(st.binary() | st.dictionaries(st.text(), st.none() | st.text()).map(lambda value: json.dumps(value).encode()))
def test_whatever_the_bytes_the_answer_is_a_request_or_one_refusal(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        DIALECT.check(raw)


def test_what_admission_must_know_is_found() -> None:
    request = check(stream=True, stream_options={"include_usage": True}, drop_params=True, suffix=None)

    assert (request.endpoint, request.model) == ("completions", "m")
    assert (request.stream, request.include_usage, request.drop_params) == (True, True, True)
    assert set(request.members) == {"model", "prompt", "stream", "stream_options"}
    assert request.input_bound(MODEL) == request.body_bytes + ENTRY_TOKENS


CHOICES = [
    ({}, 1),
    ({"n": 3}, 3),
    ({"best_of": 5}, 5),
    ({"n": 2, "best_of": 5}, 5),
    ({"n": 3, "prompt": ["a", "b"]}, 6),
    ({"prompt": [1, 2, 3]}, 1),
    ({"prompt": [[1, 2], [3]]}, 2),
    ({"prompt": ["a", 1, 2, [3]]}, 3),
]


@pytest.mark.parametrize(("members", "choices"), CHOICES)
def test_every_choice_that_is_made_for_every_prompt_is_counted(members: dict[str, Any], choices: int) -> None:
    assert check(**members).choices == choices


def test_nothing_said_is_sixteen_tokens() -> None:
    assert check().max_output_tokens(MODEL) == 16
    assert check(max_tokens=99).max_output_tokens(MODEL) == 99
    assert ask().max_output_tokens == 16


ESTIMATES = [("x" * 41, 11), (["ж" * 20, "ж" * 20], 20), ([1, 2, 3], 3), ([[1, 2], [3]], 3), (None, 1), ("", 1)]


@pytest.mark.parametrize(("prompt", "tokens"), ESTIMATES)
def test_the_estimate_counts_bytes_of_text_and_tokens_as_they_are(prompt: object, tokens: int) -> None:
    assert check(prompt=prompt).input_estimate() == tokens


NAMES = {"max_output_tokens": "max_tokens", "top_logprobs": "logprobs"}
PLAIN = ChatAsk(
    model="theirs",
    turns=(Turn(role="user", parts=(Text(text="Once"),)),),
    stream=True,
    max_output_tokens=16,
    names=NAMES,
)
READ: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"prompt": ["Once"]}, {}),
    ({"n": 1, "best_of": 1, "echo": False, "presence_penalty": 0, "logit_bias": {}, "service_tier": "auto"}, {}),
    ({"n": 3, "best_of": 3}, {"n": 3}),
    ({"best_of": 3}, {"extras": {"best_of": msgspec.Raw(b"3")}}),
    ({"echo": True}, {"extras": {"echo": msgspec.Raw(b"true")}}),
    ({"suffix": "end", "tools": []}, {"extras": {"suffix": msgspec.Raw(b'"end"'), "tools": msgspec.Raw(b"[]")}}),
    ({"logprobs": 0}, {"logprobs": True}),
    ({"logprobs": 5}, {"logprobs": True, "top_logprobs": 5}),
    ({"stop": "a", "seed": 1, "user": "u"}, {"stop": ("a",), "seed": 1, "user": "u"}),
    ({"temperature": 0, "top_p": 0.5, "top_k": 9}, {"temperature": 0.0, "top_p": 0.5, "top_k": 9}),
    ({"logit_bias": {"1": 2}}, {"logit_bias": msgspec.Raw(b'{"1": 2}')}),
]


@pytest.mark.parametrize(("members", "told"), READ)
def test_a_prompt_is_what_a_user_says(members: dict[str, Any], told: dict[str, Any]) -> None:
    assert ask(**members) == msgspec.structs.replace(PLAIN, **told)


@pytest.mark.parametrize("prompt", [None, ["a", "b"], [1, 2], [[1, 2]]])
def test_what_is_not_one_text_cannot_be_told_to_others(prompt: object) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        ask(prompt=prompt)

    assert refusal.value.field == "prompt"
    assert "exactly one text" in str(refusal.value)


def tokens(*texts: str) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(text, -1.0, None, (TokenLogprob(text, -1.0), TokenLogprob("x", -2.0))) for text in texts)


USED = Used(Usage(msgspec.Raw(b"{}"), Tokens(input=3, output=4)))
EVENTS: list[AnswerEvent] = [
    Started("cmpl-7", "model-7"),
    ThinkingDelta("hm"),
    TextDelta("Hel"),
    Logprobs(tokens("Hel")),
    TextDelta("lo"),
    Logprobs(tokens("lo")),
    RefusalDelta("!"),
    ToolStarted(0, "t", "f"),
    TextDelta("b", 1),
    Finished("length", 1),
    Finished("tool_calls", 0),
    USED,
]


def body_of(events: list[AnswerEvent]) -> dict[str, Any]:
    answered = DIALECT.whole(whole(events), CALL)
    Completion.model_validate_json(answered, strict=True)
    return msgspec.json.decode(answered)


def chunks_of(events: list[AnswerEvent], call: ProviderCall = CALL) -> list[dict[str, Any]]:
    writer = DIALECT.writer(call)
    written = b"".join([writer.write([event]) for event in events])
    rest, closing = writer.close()
    assert closing == b"data: [DONE]\n\n"
    return [msgspec.json.decode(line.removeprefix(b"data: ")) for line in (written + rest).split(b"\n\n")[:-1]]


def test_a_whole_answer_is_a_text_completion() -> None:
    completion = body_of(EVENTS)

    assert (completion["id"], completion["object"], completion["model"]) == ("cmpl-7", "text_completion", "model-7")
    assert (completion["usage"]["prompt_tokens"], completion["usage"]["completion_tokens"]) == (3, 4)
    assert completion["choices"] == [
        {
            "text": "Hello!",
            "index": 0,
            "logprobs": {
                "tokens": ["Hel", "lo"],
                "token_logprobs": [-1.0, -1.0],
                "top_logprobs": [{"Hel": -1.0, "x": -2.0}, {"lo": -1.0, "x": -2.0}],
                "text_offset": [0, 3],
            },
            "finish_reason": "stop",
        },
        {"text": "b", "index": 1, "logprobs": None, "finish_reason": "length"},
    ]


def gathered(chunks: list[dict[str, Any]], number: int) -> dict[str, Any]:
    pieces = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == number]
    reasons = [piece["finish_reason"] for piece in pieces]
    assert reasons[:-1] == [None] * (len(pieces) - 1)
    spoken = [piece["logprobs"] for piece in pieces if piece["logprobs"]]
    joined = {name: [entry for part in spoken for entry in part[name]] for name in spoken[0]} if spoken else None
    return {
        "text": "".join(piece["text"] for piece in pieces),
        "index": number,
        "logprobs": joined,
        "finish_reason": reasons[-1],
    }


def test_the_chunks_of_a_streamed_answer_add_up_to_the_whole() -> None:
    *chunks, last = chunks_of(EVENTS)

    assert [gathered(chunks, number) for number in range(2)] == body_of(EVENTS)["choices"]
    assert {chunk["id"] for chunk in (*chunks, last)} == {"cmpl-7"}
    assert all(chunk["usage"] is None for chunk in chunks)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 7)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SAID: st.SearchStrategy[AnswerEvent] = st.one_of(
    st.builds(TextDelta, WORDS, st.integers(0, 2)),
    st.builds(RefusalDelta, WORDS, st.integers(0, 2)),
    st.builds(ThinkingDelta, WORDS, st.integers(0, 2)),
    st.builds(Logprobs, WORDS.map(tokens), st.integers(0, 2)),
    st.builds(Finished, st.sampled_from(["stop", "length", "refusal"]), st.integers(0, 2)),
)


@given(st.lists(SAID))
def test_any_chunks_add_up_to_the_whole(events: list[AnswerEvent]) -> None:
    chunks, choices = chunks_of(events), body_of(events)["choices"]

    assert [gathered(chunks, choice["index"]) for choice in choices] == choices


def test_usage_stays_untold_where_nobody_asked() -> None:
    chunks = chunks_of([TextDelta("a"), USED], msgspec.structs.replace(CALL, include_usage=False))

    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)
    assert chunks[0]["id"] == f"cmpl-{CALL.request_id}"
