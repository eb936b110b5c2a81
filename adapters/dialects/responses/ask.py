"""A checked request for a response, read into the neutral shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from adapters.dialects.reading import decoded, said, unusual
from adapters.dialects.responses.check import ACCEPTED
from adapters.dialects.responses.conversation import turns_of
from adapters.dialects.responses.wire import (
    AskedFormat,
    AskedResponse,
    AskedTool,
    ChosenTool,
    ReasoningOptions,
    TextOptions,
    decode_asked,
)
from domain.chat import ChatAsk, Reasoning, ResponseFormat, Tool, ToolChoice
from domain.errors import InvalidInput, UnsupportedParameter
from domain.upstream import ProviderCall

SAYS_NOTHING = frozenset({"stream_options", "max_tool_calls"})
"""How a stream is padded, and how often tools may be called that are not served."""
LOGPROBS = "message.output_text.logprobs"
INCLUDABLE = frozenset(
    {
        LOGPROBS,
        "reasoning.encrypted_content",
        "message.input_image.image_url",
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
    }
)
"""The calls are of tools that are not served, so there is nothing of them to include."""
USUAL_OF_TOOLS = {"allowed_callers": ["direct"], "defer_loading": False, "async": False}
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_KNOWN = SAYS_NOTHING | frozenset(AskedResponse.__struct_fields__) - {"prompt_cache_options"}
_KNOWN_OF_TOOLS = frozenset(AskedTool.__struct_fields__)
_KNOWN_OF_REASONING = frozenset(ReasoningOptions.__struct_fields__) - {"context"}
_KNOWN_OF_TEXT = frozenset(TextOptions.__struct_fields__)
_Members = Mapping[str, msgspec.Raw]
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_tool_members = msgspec.json.Decoder(list[dict[str, Any]]).decode


def read(call: ProviderCall) -> ChatAsk:
    """For a provider of another format. Raises InvalidInput and UnsupportedParameter."""
    asked, members = decoded(msgspec.json.encode(said(call.members)), decode_asked, ACCEPTED)
    tools, tool_choice = _tools(asked, members)
    logprobs = LOGPROBS in _included(asked.include or ())
    text = asked.text or TextOptions()
    return ChatAsk(
        model=call.upstream_model,
        turns=turns_of(asked),
        stream=call.stream,
        max_output_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        logprobs=logprobs or bool(asked.top_logprobs) or None,
        top_logprobs=unusual(asked.top_logprobs, 0),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=unusual(asked.parallel_tool_calls, True),
        response_format=_response_format(text.format),
        reasoning=_reasoning(asked.reasoning),
        verbosity=text.verbosity,
        user=asked.safety_identifier or asked.user,
        prompt_cache_key=asked.prompt_cache_key,
        extras=_extras(asked, members),
        names={
            "logprobs": "include" if logprobs else "top_logprobs",
            "response_format": "text.format",
            "verbosity": "text.verbosity",
            "reasoning": "reasoning.effort" if asked.reasoning and asked.reasoning.effort else "reasoning.summary",
            "user": "safety_identifier" if asked.safety_identifier else "user",
        },
    )


def _included(include: Sequence[str]) -> Sequence[str]:
    for place, name in enumerate(include):
        if name not in INCLUDABLE:
            field = f"include[{place}]"
            raise UnsupportedParameter(field, f"{field}: {name!r} is not known here; leave it out.")
    return include


def _extras(asked: AskedResponse, members: _Members) -> dict[str, msgspec.Raw]:
    """What is not known, of the request and of its nested options."""
    extras = {name: value for name, value in members.items() if name not in _KNOWN}
    if asked.truncation == "auto":
        extras["truncation"] = members["truncation"]
    for parent, known in (("reasoning", _KNOWN_OF_REASONING), ("text", _KNOWN_OF_TEXT)):
        nested = said(_decode_members(members.get(parent, b"{}")))
        extras |= {f"{parent}.{name}": value for name, value in nested.items() if name not in known}
    if bytes(extras.get("reasoning.context", b"")) == b'"auto"':
        del extras["reasoning.context"]
    return extras


def _reasoning(asked: ReasoningOptions | None) -> Reasoning | None:
    if asked is None:
        return None
    if asked.effort is not None and asked.effort not in EFFORTS:
        field = "reasoning.effort"
        raise InvalidInput(f"{field}: Invalid value {asked.effort!r}; use one of {', '.join(EFFORTS)}.", field=field)
    summary = asked.summary or asked.generate_summary
    if asked.effort is None and summary is None:
        return None
    return Reasoning(effort=asked.effort, shown=True if summary else None)


def _tools(asked: AskedResponse, members: _Members) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    encoded = _decode_tool_members(members.get("tools", b"[]"))
    tools = [_tool(tool, encoded[place], f"tools[{place}]") for place, tool in enumerate(asked.tools or ())]
    choice = asked.tool_choice
    if not isinstance(choice, ChosenTool) or choice.type != "allowed_tools":
        return tuple(tools), _tool_choice(choice)
    allowed = {tool.name for tool in choice.tools or () if tool.type == "function"}
    return tuple(tool for tool in tools if tool.name in allowed), _tool_choice(choice.mode or "auto")


def _tool(tool: AskedTool, members: Mapping[str, Any], place: str) -> Tool:
    if tool.type != "function":
        field = f"{place}.type"
        raise UnsupportedParameter(
            field,
            f"{field}: tools of type {tool.type!r} are not supported here; use functions.",
            capability="custom_tools",
        )
    for name, value in members.items():
        if name not in _KNOWN_OF_TOOLS and value is not None and value != USUAL_OF_TOOLS.get(name):
            field = f"{place}.{name}"
            raise UnsupportedParameter(field, f"{field}: not supported here; leave it out.", capability="tools")
    return Tool(
        name=tool.name or "",
        description=tool.description,
        parameters=None if bytes(tool.parameters) == b"null" else tool.parameters,
        strict=tool.strict,
    )


def _tool_choice(asked: str | ChosenTool | None) -> ToolChoice | None:
    match asked:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(mode=asked)
        case ChosenTool(type="function", name=str(name)):
            return ToolChoice(mode="tool", name=name)
        case ChosenTool(type="custom"):
            raise UnsupportedParameter(
                "tool_choice",
                "tool_choice: custom tools are not supported here; name a function.",
                capability="custom_tools",
            )
        case _:
            raise InvalidInput(
                'tool_choice: not a choice; use auto, none, required or {"type":"function","name":…}.',
                field="tool_choice",
            )


def _response_format(asked: AskedFormat | None) -> ResponseFormat | None:
    match asked:
        case None | AskedFormat(type="text"):
            return None
        case AskedFormat(type="json_object"):
            return ResponseFormat(kind="json_object")
        case AskedFormat(type="json_schema") if bytes(asked.schema) != b"null":
            return ResponseFormat(
                kind="json_schema",
                name=asked.name,
                description=asked.description,
                schema=asked.schema,
                strict=asked.strict,
            )
        case _:
            raise InvalidInput(
                "text.format: not a format; use text, json_object or json_schema with `schema`.", field="text.format"
            )
