"""From a checked request in Anthropic's Messages format to the neutral shape, for providers of other formats."""

from collections.abc import Mapping

import msgspec

from adapters.dialects.messages import request as wire
from adapters.dialects.messages.blocks import blocks_of
from adapters.dialects.messages.conversation import Conversation, with_cache_at_the_end
from adapters.dialects.reading import decoded, said
from domain.chat import ChatAsk, Reasoning, ResponseFormat, Tool, ToolChoice, Turn
from domain.errors import InvalidInput, UnsupportedParameter
from domain.upstream import ProviderCall

SERVICE_TIERS = {"standard_only": "default"}
"""`auto` is what every provider does when nothing is said."""
SHOWN = {"summarized": True, "omitted": False}
EFFORT_NAME = "output_config.effort"
NAMES = {
    "stop": "stop_sequences",
    "max_output_tokens": "max_tokens",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "response_format": "output_config.format",
    "reasoning": "thinking",
    "user": "metadata.user_id",
}


class _Asked(wire.Options, kw_only=True):
    """Without a limit where it is not the answer that is wanted, but the count of its input."""

    max_tokens: int | None = None


KNOWN = frozenset({*_Asked.__struct_fields__} - {"context_management", "speed", "inference_geo"})

_decode_request = msgspec.json.Decoder(_Asked).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read(call: ProviderCall) -> ChatAsk:
    """Raises InvalidInput and UnsupportedParameter that name the place."""
    members = said(call.members)
    request, _ = decoded(msgspec.json.encode(members), _decode_request, wire.ACCEPTED)
    config = request.output_config or wire.OutputConfig()
    choice = request.tool_choice
    return ChatAsk(
        model=call.upstream_model,
        turns=_turns(request),
        stream=call.stream,
        max_output_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        stop=tuple(request.stop_sequences or ()),
        tools=tuple(_tool(tool, f"tools[{number}]") for number, tool in enumerate(request.tools or ())),
        tool_choice=_tool_choice(choice),
        parallel_tool_calls=False if choice and choice.disable_parallel_tool_use else None,
        response_format=_response_format(config.format),
        reasoning=_reasoning(request.thinking, config.effort),
        user=request.metadata.user_id if request.metadata else None,
        service_tier=SERVICE_TIERS.get(request.service_tier or ""),
        extras=_extras(members),
        names=NAMES if request.thinking else {**NAMES, "reasoning": EFFORT_NAME},
    )


def _turns(request: wire.CountRequest) -> tuple[Turn, ...]:
    conversation = Conversation()
    conversation.take("system", blocks_of(request.system, "system"), "system")
    for number, message in enumerate(request.messages):
        place = f"messages[{number}].content"
        conversation.take(message.role, blocks_of(message.content, place), place)
    if request.cache_control:
        return with_cache_at_the_end(conversation.turns, request.cache_control.lifetime)
    return tuple(conversation.turns)


def _tool(tool: wire.Tool, place: str) -> Tool:
    if tool.defer_loading:
        raise _of_anthropic_only(f"{place}.defer_loading", "tools")
    if tool.input_examples:
        raise _of_anthropic_only(f"{place}.input_examples", "tools")
    if any(caller != "direct" for caller in tool.allowed_callers or ()):
        raise _of_anthropic_only(f"{place}.allowed_callers", "tools")
    return Tool(
        name=tool.name or "",
        description=tool.description,
        parameters=tool.input_schema.copy(),
        strict=tool.strict,
        cache=tool.cache_control and tool.cache_control.lifetime,
    )


def _tool_choice(choice: wire.ToolChoice | None) -> ToolChoice | None:
    if choice is None:
        return None
    match choice.type:
        case "tool":
            if not choice.name:
                raise InvalidInput("tool_choice.name: missing; name the tool.", field="tool_choice.name")
            return ToolChoice(mode="tool", name=choice.name)
        case "any":
            return ToolChoice(mode="required")
        case "auto" | "none":
            return ToolChoice(mode=choice.type)


def _response_format(asked: wire.OutputFormat | None) -> ResponseFormat | None:
    if asked is None:
        return None
    if asked.type != "json_schema":
        raise _of_anthropic_only("output_config.format.type", "response_format")
    if not bytes(asked.schema).startswith(b"{"):
        field = "output_config.format.schema"
        raise InvalidInput(f"{field}: must be a JSON schema, an object.", field=field)
    return ResponseFormat(kind="json_schema", name="answer", schema=asked.schema.copy(), strict=True)


def _reasoning(thinking: wire.ThinkingConfig | None, effort: str | None) -> Reasoning | None:
    """Not to think at all outweighs an effort."""
    if thinking is None:
        return Reasoning(effort=effort) if effort else None
    shown = SHOWN.get(thinking.display or "")
    match thinking.type:
        case "disabled":
            return Reasoning(budget_tokens=0)
        case "adaptive":
            return Reasoning(effort=effort, shown=shown)
        case "enabled":
            if thinking.budget_tokens is None:
                field = "thinking.budget_tokens"
                raise InvalidInput(f"{field}: missing; say how many tokens the model may think.", field=field)
            return Reasoning(effort=effort, budget_tokens=thinking.budget_tokens, shown=shown)
        case _:
            raise _of_anthropic_only("thinking.type", "reasoning")


def _extras(members: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """What the format gains faster than we can know, also one level down."""
    extras = {name: value for name, value in members.items() if name not in KNOWN}
    for name, known in (("output_config", wire.OutputConfig), ("metadata", wire.Metadata)):
        for inner, value in said(_decode_object(members.get(name, b"{}"))).items():
            if inner not in known.__struct_fields__:
                extras[f"{name}.{inner}"] = value
    return extras


def _of_anthropic_only(place: str, capability: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        place, f"{place}: only Anthropic's own models know this; leave it out.", capability=capability
    )
