"""A neutral question as a request of OpenAI's chat completions."""

from typing import Any

import msgspec

from adapters.providers.openai.messages import ChatMessages
from adapters.providers.openai.native import with_usage
from adapters.providers.openai.replies import ChatStreamReader, read_whole
from domain.answer import AnswerEvent
from domain.chat import OPTIONS, ChatAsk, Expressible, Reasoning, ResponseFormat, Tool, ToolChoice

_PLAIN_OPTIONS = (
    "temperature top_p seed n presence_penalty frequency_penalty logprobs top_logprobs logit_bias parallel_tool_calls "
    "verbosity user metadata prompt_cache_key service_tier"
).split()
"""Neutral names that are OpenAI's own."""
_EXTRAS = (
    "modalities audio prediction store safety_identifier prompt_cache_retention prompt_cache_options stream_options"
).split()
_LOW_BUDGET, _MEDIUM_BUDGET = 1_024, 8_192
"""Thinking tokens of the efforts `low` and `medium`, as Google documents them for its OpenAI-compatible API."""

_Json = dict[str, Any]


class OpenAIChatVocabulary:
    """Extras always go to the provider, which knows its own and refuses the rest with a good message.

    `strict`: OpenAI itself, or Azure, which have refusals and no `top_k`. `developer_role` and
    `max_completion_tokens`: whether it knows these names; others know `system` and `max_tokens`. `sends_reasoning`:
    it wants its thoughts back (`reasoning_content`: DeepSeek, vLLM); otherwise thoughts are not sent.
    """

    has_end_mark = True

    def __init__(
        self,
        *,
        strict: bool = True,
        developer_role: bool = True,
        max_completion_tokens: bool = True,
        sends_reasoning: bool = False,
    ) -> None:
        self._strict = strict
        self._developer_role = developer_role
        self._max_tokens = "max_completion_tokens" if max_completion_tokens else "max_tokens"
        self._sends_reasoning = sends_reasoning
        kinds = ["image", "document", "audio", "tools", *(["thinking"] if sends_reasoning else [])]
        options = [option for option in OPTIONS if option != "top_k" or not strict]
        self.supports = frozenset([*options, *_EXTRAS, *kinds])

    def path(self, ask: ChatAsk) -> str:
        return "/chat/completions"

    def request_body(self, ask: ChatAsk, expressible: Expressible) -> bytes:
        """Raises UnsupportedParameter for what OpenAI cannot say, InvalidInput for `stream_options` that are none."""
        messages = ChatMessages(
            expressible,
            developer_role=self._developer_role,
            sends_reasoning=self._sends_reasoning,
            refusals=self._strict,
        )
        body: _Json = {**ask.extras, "model": ask.model, "messages": messages.written(ask.turns)}
        body |= self._options(ask, expressible)
        if ask.stream:
            body["stream"] = True
            body["stream_options"] = with_usage(ask.extras.get("stream_options"))
        return msgspec.json.encode(body)

    def _options(self, ask: ChatAsk, expressible: Expressible) -> _Json:
        plain = {option: getattr(ask, option) for option in _PLAIN_OPTIONS}
        if ask.top_k is not None and self._strict:
            expressible.refuse("top_k", "OpenAI's models have no top_k")
        elif ask.top_k is not None:
            plain["top_k"] = ask.top_k
        plain[self._max_tokens] = ask.max_output_tokens
        return _said(
            **plain,
            stop=ask.stop or None,
            tools=[_tool(tool) for tool in ask.tools] or None,
            tool_choice=ask.tool_choice and _tool_choice(ask.tool_choice),
            response_format=ask.response_format and _response_format(ask.response_format),
            reasoning_effort=ask.reasoning and _effort(ask.reasoning),
        )

    def read(self, body: bytes) -> list[AnswerEvent]:
        return read_whole(body)

    def reader(self) -> ChatStreamReader:
        return ChatStreamReader()


def _said(**members: object) -> _Json:
    return {name: value for name, value in members.items() if value is not None}


def _tool(tool: Tool) -> _Json:
    function = _said(name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict)
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | _Json:
    return {"type": "function", "function": {"name": choice.name}} if choice.mode == "tool" else choice.mode


def _response_format(wanted: ResponseFormat) -> _Json:
    if wanted.kind == "json_object":
        return {"type": "json_object"}
    schema = _said(
        name=wanted.name or "answer",
        description=wanted.description,
        schema=wanted.schema,
        strict=wanted.strict,
    )
    return {"type": "json_schema", "json_schema": schema}


def _effort(reasoning: Reasoning) -> str | None:
    """Whether thoughts are shown is not OpenAI's to say: a chat never shows them, its likes always do."""
    budget = reasoning.budget_tokens
    if reasoning.effort is not None or budget is None:
        return reasoning.effort
    if budget == 0:
        return "none"
    if budget <= _LOW_BUDGET:
        return "low"
    return "medium" if budget <= _MEDIUM_BUDGET else "high"
