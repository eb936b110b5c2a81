"""Tools, the choice among them, and the JSON schemas of what a model is to write."""

from typing import Any, Literal, cast

import msgspec

from adapters.providers.anthropic.blocks import CacheControl, cache_control
from adapters.providers.anthropic.models import ModelTraits
from adapters.providers.anthropic.thinking import Thinking
from adapters.providers.schemas import described
from domain.chat import ChatAsk, Expressible, ResponseFormat, Tool
from domain.errors import InvalidInput

_NO_ARGUMENTS = msgspec.Raw(b'{"type":"object","properties":{}}')
_CHOICES: dict[str, Literal["auto", "any", "tool", "none"]] = {
    "auto": "auto",
    "none": "none",
    "required": "any",
    "tool": "tool",
}
_SCHEMA = ("items", "not", "if", "then", "else", "contains", "additionalProperties")
_SCHEMAS_BY_NAME = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_SCHEMAS_IN_A_LIST = ("anyOf", "allOf", "oneOf", "prefixItems", "items")

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_schema = msgspec.json.Decoder(dict[str, Any]).decode


class ToolParam(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    input_schema: msgspec.Raw
    description: str | None = None
    strict: bool = False
    cache_control: CacheControl | None = None


class ToolChoiceParam(msgspec.Struct, frozen=True, omit_defaults=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class OutputFormat(msgspec.Struct, frozen=True, tag="json_schema"):
    schema: msgspec.Raw


def tools_of(ask: ChatAsk) -> list[ToolParam]:
    """Raises InvalidInput where parameters are not a JSON schema."""
    return [_tool(tool, f"tools[{number}].function.parameters") for number, tool in enumerate(ask.tools)]


def tool_choice_of(
    ask: ChatAsk, traits: ModelTraits, thinking: Thinking | None, expressible: Expressible
) -> ToolChoiceParam | None:
    choice = ask.tool_choice
    if not ask.tools:
        if choice is not None and choice.mode in ("required", "tool"):
            expressible.refuse("tool_choice", "there are no `tools` to choose from")
        return None
    mode = _CHOICES[choice.mode] if choice else "auto"
    is_forced = mode in ("any", "tool")
    if is_forced and not traits.forces_tools:
        expressible.refuse("tool_choice", "this model cannot be made to call a tool; use `auto` or `none`")
        choice, mode = None, "auto"
    elif is_forced and thinking is not None and thinking.type == "enabled":
        expressible.refuse("tool_choice", "this model cannot be made to call a tool while it thinks; use `auto`")
        choice, mode = None, "auto"
    one_by_one = ask.parallel_tool_calls is False and mode != "none"
    if choice is None and not one_by_one:
        return None
    return ToolChoiceParam(mode, choice.name if choice and mode == "tool" else None, one_by_one)


def output_format_of(ask: ChatAsk, expressible: Expressible) -> OutputFormat | None:
    """Anthropic writes only objects whose members are all named, so this is said of every object that leaves it open,
    unless the client asked not to be strict."""
    wanted = ask.response_format
    if wanted is None:
        return None
    if wanted.kind == "json_object":
        expressible.refuse("response_format", "Anthropic has no JSON without a schema; use `json_schema`")
        return None
    return OutputFormat(_output_schema(wanted))


def _output_schema(wanted: ResponseFormat) -> msgspec.Raw:
    schema = _object(described(wanted), "response_format.json_schema.schema")
    if wanted.strict is not False:
        _close(schema)
    return msgspec.Raw(msgspec.json.encode(schema))


def _tool(tool: Tool, place: str) -> ToolParam:
    return ToolParam(
        name=tool.name,
        input_schema=_input_schema(tool, place),
        description=tool.description or None,
        strict=tool.strict is True,
        cache_control=cache_control(tool.cache),
    )


def _input_schema(tool: Tool, place: str) -> msgspec.Raw:
    if tool.parameters is None:
        return _NO_ARGUMENTS
    try:
        members = _decode_members(tool.parameters)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _not_a_schema(place) from None
    if tool.strict:
        schema = _object(tool.parameters, place)
        schema.setdefault("type", "object")
        _close(schema)
        return msgspec.Raw(msgspec.json.encode(schema))
    if bytes(members.get("type", b"null")) != b"null":
        return tool.parameters
    return msgspec.Raw(msgspec.json.encode({**members, "type": "object"}))


def _object(schema: msgspec.Raw, place: str) -> dict[str, Any]:
    try:
        return _decode_schema(schema)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _not_a_schema(place) from None


def _not_a_schema(place: str) -> InvalidInput:
    return InvalidInput(f"{place}: a JSON schema is a JSON object.", field=place)


def _close(root: dict[str, Any]) -> None:
    """Says `additionalProperties: false` in every schema of an object that says nothing about it."""
    open_schemas: list[Any] = [root]
    while open_schemas:
        found = open_schemas.pop()
        if not isinstance(found, dict):
            continue
        schema = cast(dict[str, Any], found)
        kind = schema.get("type")
        if kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema:
            schema.setdefault("additionalProperties", False)
        open_schemas += _below(schema)


def _below(schema: dict[str, Any]) -> list[Any]:
    found: list[Any] = [schema[name] for name in _SCHEMA if name in schema]
    for name in _SCHEMAS_BY_NAME:
        named: object = schema.get(name)
        if isinstance(named, dict):
            found += cast(dict[str, Any], named).values()
    for name in _SCHEMAS_IN_A_LIST:
        listed: object = schema.get(name)
        if isinstance(listed, list):
            found += cast(list[Any], listed)
    return found
