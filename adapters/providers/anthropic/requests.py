"""What is asked, as the body of Anthropic's `POST /v1/messages`, version 2023-06-01."""

from typing import Literal

import msgspec

from adapters.providers.anthropic.blocks import Block, CacheControl
from adapters.providers.anthropic.conversation import Conversation, Message
from adapters.providers.anthropic.models import ModelTraits, traits_of
from adapters.providers.anthropic.thinking import Thinking, thinking_of
from adapters.providers.anthropic.tools import (
    OutputFormat,
    ToolChoiceParam,
    ToolParam,
    output_format_of,
    tool_choice_of,
    tools_of,
)
from domain.chat import ChatAsk, Expressible
from domain.errors import InvalidInput

OPTIONS = frozenset(
    {
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning",
        "user",
        "metadata",
        "service_tier",
    }
)
OWN_EXTRAS = frozenset({"thinking", "cache_control"})
MAX_TEMPERATURE = 1.0
MIN_TOP_P_WHILE_THINKING = 0.95
_SERVICE_TIERS: dict[str, Literal["auto", "standard_only"]] = {"auto": "auto", "default": "standard_only"}


class _Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: str


class _OutputConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    effort: str | None = None
    format: OutputFormat | None = None


class _Body(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    model: str
    max_tokens: int
    system: list[Block] = []
    messages: list[Message]
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] = []
    tools: list[ToolParam] = []
    tool_choice: ToolChoiceParam | None = None
    thinking: Thinking | None = None
    output_config: _OutputConfig | None = None
    metadata: _Metadata | None = None
    service_tier: str | None = None
    cache_control: CacheControl | None = None


class _Sampling(msgspec.Struct, frozen=True):
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None


_encode = msgspec.json.Encoder().encode
_decode_metadata = msgspec.json.Decoder(_Metadata).decode
_decode_cache_control = msgspec.json.Decoder(CacheControl).decode


def request_body(ask: ChatAsk, expressible: Expressible) -> bytes:
    """Raises InvalidInput; UnsupportedParameter for what Anthropic, or this model of it, has no words for."""
    expressible.refuse_unless(_said(ask), OPTIONS | OWN_EXTRAS)
    traits = traits_of(ask.model)
    max_tokens = ask.max_output_tokens or min(traits.max_output, ask.output_bound or traits.max_output)
    conversation = Conversation(expressible, system_turns=traits.system_turns)
    conversation.write(ask.turns)
    thinking, effort = thinking_of(ask, traits, max_tokens, expressible)
    output_format = output_format_of(ask, expressible)
    sampling = _sampling(ask, traits, thinking, expressible)
    body = _Body(
        model=ask.model,
        max_tokens=max_tokens,
        system=conversation.system,
        messages=conversation.messages,
        stream=ask.stream,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        stop_sequences=_stop_sequences(ask, expressible),
        tools=tools_of(ask),
        tool_choice=tool_choice_of(ask, traits, thinking, expressible),
        thinking=thinking,
        output_config=_OutputConfig(effort, output_format) if effort or output_format else None,
        metadata=_metadata(ask),
        service_tier=_service_tier(ask, expressible),
        cache_control=_own_cache_control(ask),
    )
    return _encode(body)


def _said(ask: ChatAsk) -> ChatAsk:
    """Without what says only what Anthropic does anyway."""
    return msgspec.structs.replace(
        ask,
        n=None if ask.n == 1 else ask.n,
        presence_penalty=ask.presence_penalty or None,
        frequency_penalty=ask.frequency_penalty or None,
        logprobs=ask.logprobs or None,
        top_logprobs=ask.top_logprobs or None,
        logit_bias=None if ask.logit_bias is not None and bytes(ask.logit_bias) == b"{}" else ask.logit_bias,
    )


def _sampling(ask: ChatAsk, traits: ModelTraits, thinking: Thinking | None, expressible: Expressible) -> _Sampling:
    """A temperature or top_p of 1 is what every model does anyway."""
    temperature = None if ask.temperature == 1 else ask.temperature
    top_p = None if ask.top_p == 1 else ask.top_p
    top_k = ask.top_k
    thinks = thinking is not None and thinking.is_on
    if temperature is not None and (why := _no_temperature(temperature, traits, thinks=thinks)):
        expressible.refuse("temperature", why)
        temperature = None
    if top_p is not None and (why := _no_top_p(top_p, temperature, traits, thinks=thinks)):
        expressible.refuse("top_p", why)
        top_p = None
    if top_k is not None and (thinks or not traits.samples):
        expressible.refuse("top_k", "this model has no such parameter, or not while it thinks")
        top_k = None
    return _Sampling(temperature, top_p, top_k)


def _no_temperature(temperature: float, traits: ModelTraits, *, thinks: bool) -> str | None:
    if not traits.samples:
        return "this model has no temperature but 1"
    if temperature > MAX_TEMPERATURE:
        return "Anthropic's temperatures end at 1"
    return "this model has no temperature but 1 while it thinks" if thinks else None


def _no_top_p(top_p: float, temperature: float | None, traits: ModelTraits, *, thinks: bool) -> str | None:
    if not traits.samples:
        return "this model has no top_p but 1"
    if thinks and top_p < MIN_TOP_P_WHILE_THINKING:
        return f"this model has no top_p below {MIN_TOP_P_WHILE_THINKING} while it thinks"
    return "Anthropic takes a temperature or a top_p, not both" if temperature is not None else None


def _stop_sequences(ask: ChatAsk, expressible: Expressible) -> list[str]:
    sequences = [sequence for sequence in ask.stop if sequence.strip()]
    if len(sequences) != len(ask.stop):
        expressible.refuse("stop", "Anthropic does not stop at white space alone")
    return sequences


def _metadata(ask: ChatAsk) -> _Metadata | None:
    """Of a client's metadata Anthropic knows who the user is, where that is all it says."""
    if ask.user is not None:
        return _Metadata(ask.user)
    try:
        return _decode_metadata(ask.metadata) if ask.metadata is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _service_tier(ask: ChatAsk, expressible: Expressible) -> str | None:
    if ask.service_tier is None:
        return None
    tier = _SERVICE_TIERS.get(ask.service_tier)
    if tier is None:
        expressible.refuse("service_tier", "Anthropic has `auto` and `default` only")
    return tier


def _own_cache_control(ask: ChatAsk) -> CacheControl | None:
    said = ask.extras.get("cache_control")
    if said is None:
        return None
    try:
        return _decode_cache_control(said)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput(
            'cache_control: use {"type": "ephemeral"}, with a `ttl` of `5m` or `1h`.', field="cache_control"
        ) from None
