"""A checked request for a chat completion, read into the neutral shape."""

import msgspec

from adapters.dialects.chat_completions.asked import Asked, AskedFormat, ChosenTool, FunctionTool
from adapters.dialects.chat_completions.messages import turns_of
from adapters.dialects.reading import decoded, said, unusual
from domain.chat import ChatAsk, Reasoning, ResponseFormat, Tool, ToolChoice
from domain.errors import InvalidInput, UnsupportedParameter
from domain.upstream import ProviderCall

ACCEPTED = {
    "type": "text; also refusal from the assistant, image_url and file from user and tool, input_audio from the user",
    "ttl": "5m or 1h",
}
READ_ELSEWHERE = frozenset({"model", "stream", "stream_options", "service_tier", "modalities"})
"""By `check`, which leaves no value that would change anything."""

_decode = msgspec.json.Decoder(Asked).decode
_KNOWN = READ_ELSEWHERE | frozenset(Asked.__struct_fields__)


def read(call: ProviderCall) -> ChatAsk:
    """For a provider of another format. Raises InvalidInput and UnsupportedParameter."""
    asked, members = decoded(msgspec.json.encode(said(call.members)), _decode, ACCEPTED)
    limit_name = "max_tokens" if asked.max_completion_tokens is None else "max_completion_tokens"
    return ChatAsk(
        model=call.upstream_model,
        turns=turns_of(asked.messages),
        stream=call.stream,
        max_output_tokens=asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ()),
        seed=asked.seed,
        n=unusual(asked.n, 1),
        presence_penalty=unusual(asked.presence_penalty, 0),
        frequency_penalty=unusual(asked.frequency_penalty, 0),
        logprobs=unusual(asked.logprobs, False),
        top_logprobs=unusual(asked.top_logprobs, 0),
        logit_bias=members["logit_bias"] if asked.logit_bias else None,
        tools=tuple(_tool(tool, f"tools[{index}]") for index, tool in enumerate(asked.tools or ())),
        tool_choice=_tool_choice(asked.tool_choice),
        parallel_tool_calls=unusual(asked.parallel_tool_calls, True),
        response_format=_response_format(asked.response_format),
        reasoning=None if asked.reasoning_effort is None else Reasoning(effort=asked.reasoning_effort),
        verbosity=asked.verbosity,
        user=asked.safety_identifier or asked.user,
        metadata=members["metadata"] if asked.metadata else None,
        prompt_cache_key=asked.prompt_cache_key,
        extras={name: value for name, value in members.items() if not _has_been_read(name, value)},
        names={"max_output_tokens": limit_name, "reasoning": "reasoning_effort"},
    )


def _has_been_read(name: str, value: msgspec.Raw) -> bool:
    """Not to store is what happens anyway."""
    return name in _KNOWN or (name == "store" and bytes(value) == b"false")


def _tool(tool: FunctionTool, place: str) -> Tool:
    if tool.type != "function":
        raise UnsupportedParameter(
            f"{place}.type",
            f"{place}.type: tools of type {tool.type!r} are not supported here; use functions.",
            capability="custom_tools",
        )
    function = tool.function
    if function is None:
        raise InvalidInput(
            f"{place}.function: missing; use the function's name and parameters.", field=f"{place}.function"
        )
    return Tool(
        name=function.name,
        description=function.description,
        parameters=_unless_null(function.parameters),
        strict=function.strict,
        cache=tool.cache,
    )


def _unless_null(raw: msgspec.Raw) -> msgspec.Raw | None:
    return None if bytes(raw) == b"null" else raw


def _tool_choice(asked: str | ChosenTool | None) -> ToolChoice | None:
    match asked:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(mode=asked)
        case ChosenTool(type="function", function=function) if function is not None:
            return ToolChoice(mode="tool", name=function.name)
        case ChosenTool(type="custom" | "allowed_tools" as kind):
            raise UnsupportedParameter(
                "tool_choice", f"tool_choice: {kind} is not supported here; name a function.", capability="custom_tools"
            )
        case _:
            raise InvalidInput(
                'tool_choice: not a choice; use auto, none, required or {"type":"function","function":{"name":…}}.',
                field="tool_choice",
            )


def _response_format(asked: AskedFormat | None) -> ResponseFormat | None:
    match asked:
        case None | AskedFormat(type="text"):
            return None
        case AskedFormat(type="json_object"):
            return ResponseFormat(kind="json_object")
        case AskedFormat(type="json_schema", json_schema=schema) if schema is not None:
            return ResponseFormat(
                kind="json_schema",
                name=schema.name,
                description=schema.description,
                schema=_unless_null(schema.schema) or msgspec.Raw(b"{}"),
                strict=schema.strict,
            )
        case _:
            raise InvalidInput(
                "response_format: not a format; use text, json_object or json_schema with `json_schema`.",
                field="response_format",
            )
