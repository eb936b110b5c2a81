"""How much to think, in the words of each generation: a budget of tokens, or an effort that leaves the rest to it."""

from typing import Literal

import msgspec

from adapters.providers.anthropic.models import ALL_EFFORTS, ModelTraits
from domain.chat import ChatAsk, Expressible, Reasoning
from domain.errors import InvalidInput

MIN_BUDGET = 1_024
BUDGETS = {"low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 24_576, "max": 32_768}
"""Tokens for an effort where a model knows no efforts; and the other way round, the effort that fits a budget."""
_OPTION = "reasoning"


class Thinking(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None

    @property
    def is_on(self) -> bool:
        return self.type in ("enabled", "adaptive")


_decode_thinking = msgspec.json.Decoder(Thinking).decode


def thinking_of(
    ask: ChatAsk, traits: ModelTraits, max_tokens: int, expressible: Expressible
) -> tuple[Thinking | None, str | None]:
    """`thinking` and `output_config.effort`. What the client says as Anthropic's own `thinking` goes as it is."""
    thinking, effort = None, None
    if ask.reasoning is not None:
        thinking, effort = _from_reasoning(ask.reasoning, traits, max_tokens, expressible)
    own = ask.extras.get("thinking")
    if own is not None:
        thinking = _own_thinking(own)
    return thinking, effort


def _own_thinking(own: msgspec.Raw) -> Thinking:
    try:
        return _decode_thinking(own)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput(
            'thinking: use {"type": "enabled", "budget_tokens": …}, {"type": "adaptive"} or {"type": "disabled"}.',
            field="thinking",
        ) from None


def _from_reasoning(
    reasoning: Reasoning, traits: ModelTraits, max_tokens: int, expressible: Expressible
) -> tuple[Thinking | None, str | None]:
    if reasoning.effort == "none" or (reasoning.effort is None and reasoning.budget_tokens == 0):
        return _off(traits, expressible), None
    if reasoning.effort is None and reasoning.budget_tokens is None:
        return _shown(reasoning, traits), None
    level = _level(reasoning)
    if level is None:
        expressible.refuse(_OPTION, "Anthropic knows the efforts none, minimal, low, medium, high, xhigh and max")
        return None, None
    if traits.thinks == "never":
        expressible.refuse(_OPTION, "this model does not think before it answers")
        return None, None
    effort = _nearest(level, traits.efforts)
    if traits.thinks == "by_budget" or (traits.thinks == "either_way" and reasoning.effort is None):
        thinking = _by_budget(reasoning, level, max_tokens, expressible)
        return thinking, effort if thinking and reasoning.effort else None
    return Thinking("adaptive", display=_display(reasoning)), effort


def _off(traits: ModelTraits, expressible: Expressible) -> Thinking | None:
    if not traits.thinks_unasked:
        return None
    if traits.off is None:
        expressible.refuse(_OPTION, "this model always thinks; the least is the effort `low`")
        return None
    return Thinking(traits.off)


def _shown(reasoning: Reasoning, traits: ModelTraits) -> Thinking | None:
    """Whether thoughts are shown does not make a model think that otherwise would not."""
    display = _display(reasoning)
    return Thinking("adaptive", display=display) if display and traits.thinks_unasked else None


def _level(reasoning: Reasoning) -> str | None:
    if reasoning.effort is None:
        budget = reasoning.budget_tokens or 0
        return max((level for level in ALL_EFFORTS if BUDGETS[level] <= budget), key=ALL_EFFORTS.index, default="low")
    level = "low" if reasoning.effort == "minimal" else reasoning.effort
    return level if level in ALL_EFFORTS else None


def _nearest(level: str, efforts: tuple[str, ...]) -> str | None:
    """The greatest effort of the model that is not above what was asked for."""
    not_above = ALL_EFFORTS[: ALL_EFFORTS.index(level) + 1]
    return next((known for known in reversed(not_above) if known in efforts), None)


def _by_budget(reasoning: Reasoning, level: str, max_tokens: int, expressible: Expressible) -> Thinking | None:
    """A budget lies below the limit of the whole output. One that comes from an effort leaves half of it to the answer,
    if it can."""
    budget = reasoning.budget_tokens or min(BUDGETS[level], max(MIN_BUDGET, max_tokens // 2))
    if MIN_BUDGET <= budget < max_tokens:
        return Thinking("enabled", budget, _display(reasoning))
    expressible.refuse(
        _OPTION,
        f"this model thinks with at least {MIN_BUDGET} tokens and less than the limit of its output ({max_tokens})",
    )
    return None


def _display(reasoning: Reasoning) -> Literal["summarized", "omitted"] | None:
    if reasoning.shown is None:
        return None
    return "summarized" if reasoning.shown else "omitted"
