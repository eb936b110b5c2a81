"""What is asked, in Cohere's words. Options that it has under narrower limits are refused beyond them, by name."""

from typing import Any

import msgspec

from adapters.providers.cohere.messages import Json, messages_of
from adapters.providers.schemas import described
from domain.chat import ChatAsk, Expressible, Reasoning, Tool
from domain.errors import InvalidInput

EXTRAS = frozenset({"documents", "citation_options", "safety_mode", "priority"})
OPTIONS = frozenset(
    "max_output_tokens temperature top_p top_k stop seed presence_penalty frequency_penalty logprobs tools tool_choice "
    "response_format reasoning".split()
)
SUPPORTS = OPTIONS | EXTRAS | {"image", "thinking"}

MAX_STOPS = 5
MAX_TOP_K = 500
LEAST_P, MOST_P = 0.01, 0.99
THINKING_BUDGETS = {"minimal": 500, "low": 2_000, "medium": 8_000, "high": None, "xhigh": None, "max": None}
"""Tokens, for how much to think in words. Cohere knows tokens only; above `medium` it thinks as much as it likes,
which is its own advice."""
NO_ARGUMENTS = msgspec.Raw(b'{"type":"object","properties":{}}')


def request_body(ask: ChatAsk, expressible: Expressible) -> bytes:
    """Raises InvalidInput and UnsupportedParameter."""
    expressible.refuse_unless(ask, OPTIONS | EXTRAS | _asks_for_nothing(ask))
    body: Json = {
        "model": ask.model,
        "messages": messages_of(ask.turns, expressible),
        "stream": ask.stream,
        "max_tokens": ask.max_output_tokens,
        "temperature": ask.temperature,
        "p": None if ask.top_p is None else min(max(ask.top_p, LEAST_P), MOST_P),
        "k": _top_k(ask, expressible),
        "stop_sequences": _stop_sequences(ask, expressible),
        "seed": ask.seed,
        "presence_penalty": _penalty("presence_penalty", ask.presence_penalty, expressible),
        "frequency_penalty": _penalty("frequency_penalty", ask.frequency_penalty, expressible),
        "logprobs": ask.logprobs or None,
        "response_format": _response_format(ask, expressible),
        "thinking": _thinking(ask.reasoning, expressible) if ask.reasoning else None,
        **_tools(ask, expressible),
        **{name: value for name, value in ask.extras.items() if name in EXTRAS},
    }
    return msgspec.json.encode({name: value for name, value in body.items() if value is not None})


def _asks_for_nothing(ask: ChatAsk) -> frozenset[str]:
    """Options that Cohere lacks, said with the value that its answers have anyway."""
    plain = {
        "n": ask.n == 1,
        "parallel_tool_calls": ask.parallel_tool_calls is True or ask.forces_one_tool,
        "top_logprobs": ask.top_logprobs == 0,
        "service_tier": ask.service_tier in ("auto", "default", "standard_only"),
    }
    return frozenset(name for name, is_plain in plain.items() if is_plain)


def _top_k(ask: ChatAsk, expressible: Expressible) -> int | None:
    if ask.top_k is None or 0 <= ask.top_k <= MAX_TOP_K:
        return ask.top_k
    expressible.refuse("top_k", f"Cohere takes 0 to {MAX_TOP_K}")
    return None


def _stop_sequences(ask: ChatAsk, expressible: Expressible) -> tuple[str, ...] | None:
    if len(ask.stop) <= MAX_STOPS:
        return ask.stop or None
    expressible.refuse("stop", f"Cohere takes at most {MAX_STOPS}")
    return None


def _penalty(option: str, penalty: float | None, expressible: Expressible) -> float | None:
    """No penalty is left out: some models take only one of the two."""
    if not penalty or 0 < penalty <= 1:
        return penalty or None
    expressible.refuse(option, "Cohere takes 0 to 1")
    return None


def _response_format(ask: ChatAsk, expressible: Expressible) -> Json | None:
    """A schema is always held to, strict or not; its name is not told."""
    wanted = ask.response_format
    if wanted is None:
        return None
    if ask.tools:
        expressible.refuse("response_format", "Cohere takes none together with tools")
        return None
    schema: dict[str, Any] = {"json_schema": described(wanted)} if wanted.kind == "json_schema" else {}
    return {"type": "json_object", **schema}


def _thinking(reasoning: Reasoning, expressible: Expressible) -> Json | None:
    """Thoughts are always shown. Whether a model thinks unasked is its own affair."""
    if reasoning.budget_tokens == 0 or (reasoning.budget_tokens is None and reasoning.effort == "none"):
        return {"type": "disabled"}
    if reasoning.budget_tokens is None and reasoning.effort is None:
        return None
    if reasoning.budget_tokens is None and reasoning.effort not in THINKING_BUDGETS:
        expressible.refuse("reasoning", f"use one of none, {', '.join(THINKING_BUDGETS)}")
        return None
    budget = reasoning.budget_tokens or THINKING_BUDGETS.get(reasoning.effort or "")
    return {"type": "enabled", **({"token_budget": budget} if budget else {})}


def _tools(ask: ChatAsk, expressible: Expressible) -> Json:
    """A certain tool is forced by showing no other. Cohere is strict with all tools or with none."""
    tools, choice = ask.tools, ask.tool_choice
    if choice and choice.mode == "tool":
        tools = tuple(tool for tool in tools if tool.name == choice.name)
        if not tools:
            raise InvalidInput(f"tool_choice: there is no tool {choice.name!r} among `tools`.", field="tool_choice")
    if not tools:
        if choice and choice.mode == "required":
            expressible.refuse("tool_choice", "there are no `tools` to choose from")
        return {}
    forced = {"required": "REQUIRED", "tool": "REQUIRED", "none": "NONE"}.get(choice.mode if choice else "")
    return {
        "tools": [_tool(tool) for tool in tools],
        "strict_tools": any(tool.strict for tool in tools) or None,
        "tool_choice": forced,
    }


def _tool(tool: Tool) -> Json:
    described = {"description": tool.description} if tool.description else {}
    function: Json = {"name": tool.name, **described, "parameters": tool.parameters or NO_ARGUMENTS}
    return {"type": "function", "function": function}
