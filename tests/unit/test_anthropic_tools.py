"""Tools and JSON schemas as Anthropic takes them."""

from typing import Any

import msgspec
import pytest
from anthropic.types import MessageCreateParams
from pydantic import TypeAdapter

from adapters.providers.anthropic import AnthropicVocabulary
from domain.chat import ChatAsk, Expressible, ResponseFormat, Text, Tool, ToolChoice, Turn
from domain.errors import InvalidInput, UnsupportedParameter

_params: TypeAdapter[Any] = TypeAdapter(MessageCreateParams)
TURNS = (Turn(role="user", parts=(Text(text="Hi"),)),)
LOOK = Tool(name="look")


def body(**options: Any) -> dict[str, Any]:
    ask = ChatAsk(model="claude-sonnet-4-5", turns=TURNS, **options)
    made = msgspec.json.decode(AnthropicVocabulary().request_body(ask, Expressible("Anthropic", {}, drop=False)))
    _params.validate_python(made)
    return made


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def tool(**members: Any) -> dict[str, Any]:
    return body(tools=(Tool(name="look", **members),))["tools"][0]


def schema(value: object, **members: Any) -> dict[str, Any]:
    wanted = ResponseFormat(kind="json_schema", name="x", schema=raw(value), **members)
    return body(response_format=wanted)["output_config"]["format"]


def test_a_tool_is_described() -> None:
    parameters = {"type": "object", "properties": {"at": {"type": "string"}}}

    assert tool(description="Looks", parameters=raw(parameters), strict=False, cache="5m") == {
        "name": "look",
        "description": "Looks",
        "input_schema": parameters,
        "cache_control": {"type": "ephemeral", "ttl": "5m"},
    }


@pytest.mark.parametrize(
    ("parameters", "input_schema"),
    [
        (None, {"type": "object", "properties": {}}),
        (raw({}), {"type": "object"}),
        (raw({"type": None, "properties": {}}), {"type": "object", "properties": {}}),
        (raw({"anyOf": [], "type": "object"}), {"anyOf": [], "type": "object"}),
    ],
)
def test_the_input_of_a_tool_is_an_object(parameters: msgspec.Raw | None, input_schema: Any) -> None:
    assert tool(parameters=parameters) == {"name": "look", "input_schema": input_schema}


def test_a_strict_tool_takes_named_members_only() -> None:
    assert tool(parameters=raw({"properties": {}}), strict=True) == {
        "name": "look",
        "strict": True,
        "input_schema": {"properties": {}, "type": "object", "additionalProperties": False},
    }


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("parameters", [b"[]", b"7", b'{"type":', b'"\xff"', b'{"a":' * 100_000])
def test_parameters_that_are_no_schema_are_refused(parameters: bytes, strict: bool) -> None:
    with pytest.raises(InvalidInput) as refusal:
        body(tools=(LOOK, Tool(name="wait", parameters=msgspec.Raw(parameters), strict=strict)))

    assert refusal.value.field == "tools[1].function.parameters"


@pytest.mark.parametrize(
    ("choice", "parallel", "said"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="auto"), None, {"type": "auto"}),
        (ToolChoice(mode="none"), False, {"type": "none"}),
        (ToolChoice(mode="required"), None, {"type": "any"}),
        (ToolChoice(mode="required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="tool", name="look"), None, {"type": "tool", "name": "look"}),
    ],
)
def test_the_choice_among_tools_is_said(choice: ToolChoice | None, parallel: bool | None, said: Any) -> None:
    assert body(tools=(LOOK,), tool_choice=choice, parallel_tool_calls=parallel).get("tool_choice") == said


def test_without_tools_there_is_no_choice() -> None:
    assert "tool_choice" not in body(tool_choice=ToolChoice(mode="auto"), parallel_tool_calls=False)


def test_every_object_of_an_output_names_its_members() -> None:
    def an_object(**members: Any) -> dict[str, Any]:
        return {"type": "object", **members}

    wanted = an_object(
        properties={
            "properties": an_object(properties={}),
            "many": {"type": "array", "items": an_object()},
            "one_of": {"anyOf": [an_object(), {"type": "null"}, {"$ref": "#/$defs/d"}]},
            "maybe": {"type": ["object", "null"]},
            "open": an_object(additionalProperties={"type": "object"}),
            "constant": {"const": {"type": "object"}, "enum": [{"type": "object"}]},
        },
        **{"$defs": {"d": {"properties": {"a": {"type": "string"}}}}},
    )

    closed = schema(wanted)

    def shut(**members: Any) -> dict[str, Any]:
        return {**members, "additionalProperties": False}

    assert closed == {
        "type": "json_schema",
        "schema": shut(
            type="object",
            properties={
                "properties": shut(type="object", properties={}),
                "many": {"type": "array", "items": shut(type="object")},
                "one_of": {"anyOf": [shut(type="object"), {"type": "null"}, {"$ref": "#/$defs/d"}]},
                "maybe": shut(type=["object", "null"]),
                "open": an_object(additionalProperties=shut(type="object")),
                "constant": {"const": {"type": "object"}, "enum": [{"type": "object"}]},
            },
            **{"$defs": {"d": shut(properties={"a": {"type": "string"}})}},
        ),
    }


def test_an_output_that_need_not_be_strict_is_left_as_it_is() -> None:
    assert schema({"type": "object"}, strict=False)["schema"] == {"type": "object"}


def test_the_description_of_an_output_is_told() -> None:
    assert schema({"type": "string"}, description="A name")["schema"] == {"type": "string", "description": "A name"}
    assert schema({"description": "B"}, description="A")["schema"] == {"description": "B"}


@pytest.mark.parametrize("garbage", [b"[]", b"{", b'{"a":' * 100_000])
def test_an_output_that_is_no_schema_is_refused(garbage: bytes) -> None:
    with pytest.raises(InvalidInput) as refusal:
        body(response_format=ResponseFormat(kind="json_schema", name="x", schema=msgspec.Raw(garbage)))

    assert refusal.value.field == "response_format.json_schema.schema"


def test_json_without_a_schema_is_refused() -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        body(response_format=ResponseFormat(kind="json_object"))

    assert refusal.value.field == "response_format"
