"""What an OpenAI client says, in the neutral shape: nothing lost, nothing invented, what cannot be told refused."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dialects.chat_completions.dialect import ChatCompletionsDialect
from domain.chat import ChatAsk, Reasoning, ResponseFormat, Text, Tool, ToolChoice, Turn
from domain.errors import InvalidInput, UnsupportedParameter
from domain.ids import RequestId
from domain.upstream import ProviderCall

HELLO = {"role": "user", "content": "Hello"}
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}


def called(**members: Any) -> ProviderCall:
    body = msgspec.json.encode({"model": "ours", "messages": [HELLO], **members})
    return ProviderCall(
        request_id=RequestId("req_0197f0c2a1b87a6f9c3e5d2b4a1c0001"),
        endpoint="chat.completions",
        upstream_model="theirs",
        members=msgspec.json.decode(body, type=dict[str, msgspec.Raw]),
        stream=bool(members.get("stream")),
        include_usage=False,
        drop_params=False,
        input_estimate=1,
        max_output_tokens=4_096,
    )


def ask(**members: Any) -> ChatAsk:
    return ChatCompletionsDialect().read(called(**members))


def refusal_of(**members: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as refusal:
        ask(**members)
    return refusal.value


def test_a_plain_request_says_only_what_was_said() -> None:
    assert ask() == ChatAsk(
        model="theirs",
        turns=(Turn(role="user", parts=(Text(text="Hello"),)),),
        names={"max_output_tokens": "max_tokens", "reasoning": "reasoning_effort"},
    )


RAW = msgspec.Raw
OPTIONS = [
    ({"max_tokens": 5}, "max_output_tokens", 5),
    ({"max_completion_tokens": 6}, "max_output_tokens", 6),
    ({"max_completion_tokens": 6, "max_tokens": 9}, "max_output_tokens", 6),
    ({"temperature": 0}, "temperature", 0),
    ({"top_p": 0.5}, "top_p", 0.5),
    ({"top_k": 40}, "top_k", 40),
    ({"stop": "END"}, "stop", ("END",)),
    ({"stop": ["a", "b"]}, "stop", ("a", "b")),
    ({"stop": []}, "stop", ()),
    ({"seed": 0}, "seed", 0),
    ({"n": 2}, "n", 2),
    ({"presence_penalty": -1}, "presence_penalty", -1),
    ({"frequency_penalty": 0.5}, "frequency_penalty", 0.5),
    ({"logprobs": True}, "logprobs", True),
    ({"top_logprobs": 3}, "top_logprobs", 3),
    ({"logit_bias": {"50256": -100}}, "logit_bias", RAW(b'{"50256":-100}')),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", (Tool(name="f"),)),
    (
        {"tools": [{"type": "function", "function": FUNCTION, "cache_control": {"type": "ephemeral"}}]},
        "tools",
        (Tool(name="f", description="d", parameters=RAW(b'{"type":"object"}'), strict=True, cache="5m"),),
    ),
    ({"tool_choice": "auto"}, "tool_choice", ToolChoice(mode="auto")),
    ({"tool_choice": "none"}, "tool_choice", ToolChoice(mode="none")),
    ({"tool_choice": "required"}, "tool_choice", ToolChoice(mode="required")),
    (
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        "tool_choice",
        ToolChoice(mode="tool", name="f"),
    ),
    ({"parallel_tool_calls": False}, "parallel_tool_calls", False),
    ({"response_format": {"type": "text"}}, "response_format", None),
    ({"response_format": {"type": "json_object"}}, "response_format", ResponseFormat(kind="json_object")),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"a": 1}, "strict": False}}},
        "response_format",
        ResponseFormat(kind="json_schema", name="s", schema=RAW(b'{"a":1}'), strict=False),
    ),
    ({"reasoning_effort": "xhigh"}, "reasoning", Reasoning(effort="xhigh")),
    ({"verbosity": "low"}, "verbosity", "low"),
    ({"user": "u"}, "user", "u"),
    ({"metadata": {"a": "b"}}, "metadata", RAW(b'{"a":"b"}')),
    ({"prompt_cache_key": "k"}, "prompt_cache_key", "k"),
    ({"stream": True, "stream_options": {"include_obfuscation": False}}, "stream", True),
    (
        {"thinking": {"type": "enabled"}, "store": True},
        "extras",
        {"thinking": RAW(b'{"type":"enabled"}'), "store": RAW(b"true")},
    ),
]


@pytest.mark.parametrize(("members", "field", "value"), OPTIONS)
def test_an_option_is_told_under_its_neutral_name(members: dict[str, Any], field: str, value: object) -> None:
    heard = ask(**members)

    assert getattr(heard, field) == value
    others = set(ChatAsk.__struct_fields__) - {field, "names"}
    assert {name: getattr(heard, name) for name in others} == {name: getattr(ask(), name) for name in others}


SAY_NOTHING: list[dict[str, Any]] = [
    {"service_tier": "auto"},
    {"service_tier": "default"},
    {"modalities": ["text"]},
    {"store": False},
    {"n": 1},
    {"logprobs": False},
    {"top_logprobs": 0},
    {"presence_penalty": 0.0},
    {"frequency_penalty": 0},
    {"parallel_tool_calls": True},
    {"logit_bias": {}},
    {"metadata": {}},
    {"tools": []},
    {"drop_params": True},
    {
        "stream_options": None,
        "stop": None,
        "tools": None,
        "whatever": None,
        "logit_bias": None,
        "reasoning_effort": None,
    },
]


@pytest.mark.parametrize("members", SAY_NOTHING)
def test_what_asks_for_what_happens_anyway_says_nothing(members: dict[str, Any]) -> None:
    assert ask(**members) == ask()


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_limit_keeps_the_name_that_the_client_gave_it(name: str) -> None:
    assert ask(**{name: 5}).names["max_output_tokens"] == name


REFUSED: list[tuple[dict[str, Any], str, type[InvalidInput]]] = [
    ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0].type", UnsupportedParameter),
    ({"tools": [{"type": "function"}]}, "tools[0].function", InvalidInput),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", InvalidInput),
    ({"tool_choice": "any"}, "tool_choice", InvalidInput),
    ({"tool_choice": {"type": "function"}}, "tool_choice", InvalidInput),
    ({"tool_choice": {"type": "custom", "custom": {"name": "c"}}}, "tool_choice", UnsupportedParameter),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice", UnsupportedParameter),
    ({"response_format": {"type": "grammar"}}, "response_format", InvalidInput),
    ({"response_format": {"type": "json_schema"}}, "response_format", InvalidInput),
    ({"reasoning_effort": 3}, "reasoning_effort", InvalidInput),
    ({"metadata": "a"}, "metadata", InvalidInput),
]


@pytest.mark.parametrize(("members", "field", "kind"), REFUSED)
def test_what_is_no_option_is_refused_by_name(members: dict[str, Any], field: str, kind: type[InvalidInput]) -> None:
    refusal = refusal_of(**members)

    assert type(refusal) is kind
    assert refusal.field == field
    assert str(refusal).startswith(f"{field}: ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "function", "name", "content", "role"]), inner, max_size=3)
    ),
    max_leaves=8,
)
MESSAGE_MEMBERS = (
    "content tool_calls tool_call_id refusal thinking_blocks reasoning_content extra_content cache_control".split()
)
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool"])
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES},
    optional=dict.fromkeys(MESSAGE_MEMBERS, JSON),
)
MEMBERS = st.dictionaries(
    st.sampled_from("tools tool_choice response_format stop n seed metadata logit_bias reasoning_effort store".split()),
    JSON,
)


@given(st.lists(MESSAGES, min_size=1, max_size=3), MEMBERS)
def test_whatever_the_members_they_are_read_or_refused(messages: list[Any], members: dict[str, Any]) -> None:
    try:
        heard = ask(messages=messages, **members)
    except InvalidInput as refusal:
        assert refusal.field
    else:
        assert heard.turns
