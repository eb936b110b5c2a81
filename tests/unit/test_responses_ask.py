"""What a client of `/responses` says, in the neutral shape: nothing lost, what cannot be told refused."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dialects.dialect import ChatDialect
from adapters.dialects.responses.dialect import ResponsesDialect
from domain.chat import ChatAsk, Reasoning, ResponseFormat, Text, Tool, ToolChoice, Turn
from domain.errors import InvalidInput, UnsupportedParameter
from tests.responses import body, call

DIALECT: ChatDialect = ResponsesDialect()
FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
OTHER: dict[str, Any] = {"type": "function", "name": "g", "parameters": None, "strict": None}


def ask(**members: Any) -> ChatAsk:
    return DIALECT.read(call(**members))


def refusal_of(**members: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as refusal:
        ask(**members)
    return refusal.value


def test_a_plain_request_says_only_what_was_said() -> None:
    asked = ask(model="ours")

    assert asked == ChatAsk(model="theirs", turns=(Turn(role="user", parts=(Text(text="Hello"),)),), names=asked.names)


OPTIONS = [
    ({"stream": True}, "stream", True),
    ({"max_output_tokens": 5}, "max_output_tokens", 5),
    ({"temperature": 0}, "temperature", 0),
    ({"top_p": 0.5}, "top_p", 0.5),
    ({"include": ["message.output_text.logprobs"]}, "logprobs", True),
    ({"top_logprobs": 3}, "logprobs", True),
    ({"top_logprobs": 3}, "top_logprobs", 3),
    ({"top_logprobs": 0}, "logprobs", None),
    ({"parallel_tool_calls": False}, "parallel_tool_calls", False),
    ({"parallel_tool_calls": True}, "parallel_tool_calls", None),
    ({"text": {"format": {"type": "text"}}}, "response_format", None),
    ({"text": {"format": {"type": "json_object"}}}, "response_format", ResponseFormat(kind="json_object")),
    ({"text": {"verbosity": "low"}}, "verbosity", "low"),
    ({"reasoning": {"effort": "high"}}, "reasoning", Reasoning(effort="high")),
    ({"reasoning": {"summary": "auto"}}, "reasoning", Reasoning(shown=True)),
    ({"reasoning": {"generate_summary": "auto", "effort": "low"}}, "reasoning", Reasoning(effort="low", shown=True)),
    ({"reasoning": {"effort": None}}, "reasoning", None),
    ({"user": "u"}, "user", "u"),
    ({"user": "u", "safety_identifier": "s"}, "user", "s"),
    ({"prompt_cache_key": "k"}, "prompt_cache_key", "k"),
    ({"tool_choice": "auto"}, "tool_choice", ToolChoice(mode="auto")),
    ({"tool_choice": "none"}, "tool_choice", ToolChoice(mode="none")),
    ({"tool_choice": "required"}, "tool_choice", ToolChoice(mode="required")),
    ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice", ToolChoice(mode="tool", name="f")),
]


@pytest.mark.parametrize(("members", "field", "value"), OPTIONS)
def test_an_option_has_its_place(members: dict[str, Any], field: str, value: object) -> None:
    asked = ask(**members)

    assert getattr(asked, field) == value
    assert not asked.extras


def test_a_schema_is_kept_as_it_was_sent() -> None:
    written = {"type": "json_schema", "name": "n", "description": "d", "schema": {"type": "object"}, "strict": True}
    asked = ask(text={"format": written}).response_format

    assert asked is not None
    assert (asked.kind, asked.name, asked.description, asked.strict) == ("json_schema", "n", "d", True)
    assert bytes(asked.schema) == b'{"type":"object"}'


def test_tools_are_functions() -> None:
    first, second = ask(tools=[FUNCTION, OTHER]).tools

    assert (first.name, first.description, first.strict) == ("f", "d", True)
    assert bytes(first.parameters or b"") == b'{"type":"object"}'
    assert second == Tool(name="g")


def test_only_the_allowed_tools_are_told() -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    asked = ask(tools=[FUNCTION, OTHER], tool_choice=choice)

    assert asked.tools == (Tool(name="g"),)
    assert asked.tool_choice == ToolChoice(mode="required")


NOTHING_TO_TELL: list[dict[str, Any]] = [
    {"metadata": {"a": "b"}},
    {"store": False},
    {"background": False},
    {"truncation": "disabled"},
    {"service_tier": "auto"},
    {"max_tool_calls": 3},
    {"stream_options": {"include_obfuscation": False}},
    {"include": ["reasoning.encrypted_content", "web_search_call.action.sources"]},
    {"reasoning": {"mode": "standard", "context": "auto"}},
    {"temperature": None, "tools": None, "text": None, "reasoning": None, "anything": None, "include": None},
]


@pytest.mark.parametrize("members", NOTHING_TO_TELL)
def test_what_a_provider_need_not_know_is_not_told(members: dict[str, Any]) -> None:
    asked = ask(**members)

    assert msgspec.structs.replace(asked, names={}) == msgspec.structs.replace(ask(), names={})


EXTRAS = [
    ({"top_k": 4}, "top_k", b"4"),
    ({"truncation": "auto"}, "truncation", b'"auto"'),
    ({"moderation": {"model": "m"}}, "moderation", b'{"model":"m"}'),
    ({"prompt_cache_options": {"mode": "explicit"}}, "prompt_cache_options", b'{"mode":"explicit"}'),
    ({"reasoning": {"context": "all_turns"}}, "reasoning.context", b'"all_turns"'),
    ({"reasoning": {"budget": 1}}, "reasoning.budget", b"1"),
    ({"text": {"tone": "warm"}}, "text.tone", b'"warm"'),
]


@pytest.mark.parametrize(("members", "name", "value"), EXTRAS)
def test_what_is_not_known_is_an_extra_under_its_own_name(members: dict[str, Any], name: str, value: bytes) -> None:
    assert {key: bytes(raw) for key, raw in ask(**members).extras.items()} == {name: value}


NAMES = [
    ({}, "response_format", "text.format"),
    ({}, "verbosity", "text.verbosity"),
    ({"reasoning": {"effort": "low", "summary": "auto"}}, "reasoning", "reasoning.effort"),
    ({"reasoning": {"summary": "auto"}}, "reasoning", "reasoning.summary"),
    ({"include": ["message.output_text.logprobs"], "top_logprobs": 2}, "logprobs", "include"),
    ({"top_logprobs": 2}, "logprobs", "top_logprobs"),
    ({"safety_identifier": "s"}, "user", "safety_identifier"),
    ({"user": "s"}, "user", "user"),
]


@pytest.mark.parametrize(("members", "option", "name"), NAMES)
def test_an_option_goes_by_the_name_that_the_client_used(members: dict[str, Any], option: str, name: str) -> None:
    assert ask(**members).names[option] == name


REFUSED = [
    ({"tools": [{"type": "custom", "name": "g"}]}, "tools[0].type"),
    ({"tools": [{**FUNCTION, "defer_loading": True}]}, "tools[0].defer_loading"),
    ({"tools": [{**FUNCTION, "allowed_callers": ["programmatic"]}]}, "tools[0].allowed_callers"),
    ({"tool_choice": {"type": "custom", "name": "g"}}, "tool_choice"),
    ({"tool_choice": {"type": "function"}}, "tool_choice"),
    ({"tool_choice": "some"}, "tool_choice"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format"),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ({"include": ["thoughts"]}, "include[0]"),
    ({"input": [{"type": "custom_tool_call", "call_id": "c", "name": "g", "input": "a"}]}, "input[0].type"),
    ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]}, "input[0].name"),
    ({"input": [{"type": "function_call_output", "call_id": "c", "output": "a"}]}, "input[0].call_id"),
]


@pytest.mark.parametrize(("members", "field"), REFUSED)
def test_what_cannot_be_told_is_refused_by_its_place(members: dict[str, Any], field: str) -> None:
    refusal = refusal_of(**members)

    assert refusal.field == field
    assert field in str(refusal)


def test_the_usual_of_a_tool_may_be_said() -> None:
    assert ask(tools=[{**FUNCTION, "defer_loading": False, "allowed_callers": ["direct"]}]).tools


def test_custom_tools_are_a_capability_of_their_own() -> None:
    refusal = refusal_of(tools=[{"type": "custom", "name": "g"}])

    assert isinstance(refusal, UnsupportedParameter)
    assert refusal.capability == "custom_tools"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "role", "name"]), inner),
    max_leaves=6,
)
MEMBERS = st.sampled_from(["input", "tools", "text", "reasoning", "tool_choice", "include", "truncation", "metadata"])


@given(st.dictionaries(MEMBERS, JSON))
def test_whatever_passed_the_check_is_read_or_refused(members: dict[str, Any]) -> None:
    try:
        DIALECT.check(body(**members))
        asked = ask(**members)
    except InvalidInput:
        return
    assert asked.turns
