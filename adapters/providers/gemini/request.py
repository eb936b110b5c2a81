"""A request for `generateContent`."""

from collections.abc import Iterable

import msgspec

from adapters.providers.gemini.contents import Json, write_conversation
from adapters.providers.gemini.models import gemini_version
from adapters.providers.gemini.thinking import thinking_config
from adapters.providers.schemas import described
from domain.chat import ChatAsk, Expressible, Tool

MAX_STOP_SEQUENCES = 5

_PLAIN = {
    "max_output_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "n": "candidateCount",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_OWN = {
    "safety_settings": "safetySettings",
    "safetySettings": "safetySettings",
    "labels": "labels",
}
_STANDARD_TIERS = ("auto", "default", "standard")
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "tool": "ANY"}

SUPPORTED = frozenset(
    {*_PLAIN, *_OWN, "stop", "logprobs", "top_logprobs", "tools", "tool_choice", "response_format", "reasoning"}
)
_LOOKED_AT = SUPPORTED | {"parallel_tool_calls", "service_tier"}
"""Options of which some values can be expressed."""


def request_body(ask: ChatAsk, expressible: Expressible) -> bytes:
    expressible.refuse_unless(ask, _LOOKED_AT)
    if ask.parallel_tool_calls is False and not ask.forces_one_tool:
        expressible.refuse("parallel_tool_calls", "Gemini calls as many tools at once as it likes")
    if ask.service_tier is not None and ask.service_tier not in _STANDARD_TIERS:
        expressible.refuse("service_tier", "only Gemini's standard tier is served here")
    body = write_input(ask, expressible)
    if config := _generation_config(ask, expressible):
        body["generationConfig"] = config
    for name, value in ask.extras.items():
        if name in _OWN:
            body[_OWN[name]] = value
    return msgspec.json.encode(body)


def write_input(ask: ChatAsk, expressible: Expressible) -> Json:
    """All that counts as input: the conversation and its tools."""
    body = write_conversation(ask, expressible)
    if ask.tools:
        body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in ask.tools]}]
    if mode := _calling_mode(ask):
        body["toolConfig"] = {"functionCallingConfig": mode}
    return body


def _declaration(tool: Tool) -> Json:
    said = {"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters}
    return {name: value for name, value in said.items() if value is not None}


def _calling_mode(ask: ChatAsk) -> Json | None:
    """Without tools Gemini knows no mode, so what would change nothing is left out. VALIDATED is AUTO that keeps to
    the schemas."""
    choice = ask.tool_choice
    if choice is not None and (ask.tools or choice.mode in ("required", "tool")):
        mode: Json = {"mode": _MODES[choice.mode]}
        if choice.name is not None:
            mode["allowedFunctionNames"] = [choice.name]
    elif ask.tools:
        mode = {"mode": "AUTO"}
    else:
        return None
    if mode["mode"] == "AUTO" and _is_strict(ask.model, ask.tools):
        return {"mode": "VALIDATED"}
    return mode if choice is not None else None


def _is_strict(model: str, tools: Iterable[Tool]) -> bool:
    version = gemini_version(model)
    return version is not None and version >= (2, 5) and any(tool.strict for tool in tools)


def _generation_config(ask: ChatAsk, expressible: Expressible) -> Json:
    config: Json = {wire: value for option, wire in _PLAIN.items() if (value := getattr(ask, option)) is not None}
    if ask.max_output_tokens is None and ask.output_bound is not None:
        config["maxOutputTokens"] = ask.output_bound
    if len(ask.stop) > MAX_STOP_SEQUENCES:
        expressible.refuse("stop", f"Gemini takes at most {MAX_STOP_SEQUENCES} stop sequences")
    elif ask.stop:
        config["stopSequences"] = ask.stop
    if ask.logprobs or ask.top_logprobs:
        config["responseLogprobs"] = True
        if ask.top_logprobs:
            config["logprobs"] = ask.top_logprobs
    if ask.response_format is not None:
        config["responseMimeType"] = "application/json"
        if ask.response_format.kind == "json_schema":
            config["responseJsonSchema"] = described(ask.response_format)
    if thinking := thinking_config(ask, expressible):
        config["thinkingConfig"] = thinking
    return config
