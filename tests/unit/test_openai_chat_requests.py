"""A neutral question in OpenAI's words, and in those of what speaks like it."""

from typing import Any

import msgspec
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from pydantic import TypeAdapter

from domain.chat import (
    OPTIONS,
    Expressible,
    Reasoning,
    ResponseFormat,
    Text,
    Tool,
    ToolChoice,
)
from domain.errors import InvalidInput, UnsupportedParameter
from tests.openai_asking import LIKE_IT, OPENAI, ask, body, turn

SCHEMA = msgspec.Raw(b'{"type":"object","properties":{"place":{"type":"string"}}}')
REQUEST: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsStreaming)


def test_a_question_is_written_without_what_was_not_said() -> None:
    assert body(ask(turn("user", Text(text="Hello")))) == {
        "model": "upstream",
        "messages": [{"role": "user", "content": "Hello"}],
    }
    assert OPENAI.path(ask()) == "/chat/completions"


def test_a_stream_always_asks_for_usage() -> None:
    asked = ask(stream=True, extras={"stream_options": msgspec.Raw(b'{"include_obfuscation":false}')})

    sent = body(asked)

    assert sent["stream"] is True
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_stream_options_that_are_no_object_are_refused() -> None:
    with pytest.raises(InvalidInput):
        body(ask(stream=True, extras={"stream_options": msgspec.Raw(b"3")}))


SAID: dict[str, Any] = {
    "max_output_tokens": 100,
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": ("a", "b"),
    "seed": 1,
    "n": 2,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "logprobs": True,
    "top_logprobs": 3,
    "logit_bias": msgspec.Raw(b'{"50256":-100}'),
    "tools": (Tool(name="f", description="d", parameters=SCHEMA, strict=True), Tool(name="g")),
    "tool_choice": ToolChoice(mode="tool", name="f"),
    "parallel_tool_calls": False,
    "response_format": ResponseFormat(kind="json_schema", name="place", schema=SCHEMA, strict=True),
    "reasoning": Reasoning(effort="xhigh"),
    "verbosity": "low",
    "user": "u",
    "metadata": msgspec.Raw(b'{"a":"b"}'),
    "prompt_cache_key": "k",
    "service_tier": "flex",
}


def test_every_option_has_its_word() -> None:
    assert set(SAID) == set(OPTIONS) - {"top_k"} == set(OPTIONS) & OPENAI.supports

    sent = body(ask(turn("user", Text(text="Hello")), stream=True, **SAID))

    REQUEST.validate_python(sent)
    schema = msgspec.json.decode(SCHEMA)
    assert sent == {
        "model": "upstream",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["a", "b"],
        "seed": 1,
        "n": 2,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logprobs": True,
        "top_logprobs": 3,
        "logit_bias": {"50256": -100},
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": True}},
            {"type": "function", "function": {"name": "g"}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}},
        "reasoning_effort": "xhigh",
        "verbosity": "low",
        "user": "u",
        "metadata": {"a": "b"},
        "prompt_cache_key": "k",
        "service_tier": "flex",
    }


def test_what_speaks_like_openai_knows_the_older_names_and_top_k() -> None:
    asked = ask(turn("developer", Text(text="Be brief.")), max_output_tokens=9, top_k=40)

    sent = body(asked, LIKE_IT)

    assert (sent["max_tokens"], sent["top_k"]) == (9, 40)
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}]
    assert set(OPTIONS) < LIKE_IT.supports


def test_top_k_is_refused_by_openai_under_the_clients_name_or_left_out_and_told() -> None:
    asked = ask(top_k=40, names={"top_k": "k"})
    dropping = Expressible("openai", asked.names, drop=True)

    with pytest.raises(UnsupportedParameter) as refusal:
        body(asked)
    assert (refusal.value.field, refusal.value.capability) == ("k", "top_k")
    assert "top_k" not in msgspec.json.decode(OPENAI.request_body(asked, dropping))
    assert dropping.dropped == ["k"]


def test_extras_go_to_the_provider_which_knows_its_own() -> None:
    sent = body(ask(turn("user", Text(text="a")), extras={"store": msgspec.Raw(b"true"), "new": msgspec.Raw(b"[1]")}))

    assert (sent["store"], sent["new"]) == (True, [1])


@pytest.mark.parametrize(
    ("reasoning", "effort"),
    [
        (Reasoning(effort="minimal", budget_tokens=9_999), "minimal"),
        (Reasoning(budget_tokens=0), "none"),
        (Reasoning(budget_tokens=1_024), "low"),
        (Reasoning(budget_tokens=1_025), "medium"),
        (Reasoning(budget_tokens=8_192), "medium"),
        (Reasoning(budget_tokens=8_193), "high"),
        (Reasoning(shown=True), None),
    ],
)
def test_a_budget_of_thoughts_becomes_an_effort(reasoning: Reasoning, effort: str | None) -> None:
    assert body(ask(reasoning=reasoning)).get("reasoning_effort") == effort


@pytest.mark.parametrize("mode", ["auto", "none", "required"])
def test_a_choice_of_tools_is_a_word(mode: Any) -> None:
    assert body(ask(tool_choice=ToolChoice(mode=mode)))["tool_choice"] == mode


def test_a_schema_without_a_name_gets_one() -> None:
    assert body(ask(response_format=ResponseFormat(kind="json_object")))["response_format"] == {"type": "json_object"}
    written = body(ask(response_format=ResponseFormat(kind="json_schema")))["response_format"]
    assert written == {"type": "json_schema", "json_schema": {"name": "answer", "schema": {}}}
