"""How much a Gemini model is to think: in levels from Gemini 3 on, in tokens at 2.5, not at all before."""

from adapters.providers.gemini.models import bare_name, gemini_version
from domain.chat import ChatAsk, Expressible, Reasoning

OWN_SIGNATURE = "gemini:"
"""Goes before the signature of a thought, so that those of other providers, just as opaque, are not sent to Gemini."""

_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH", "max": "HIGH"}
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
"""As Google's own OpenAI-compatible endpoint has them."""
_MOST_TOKENS_PRO = 32768
_MOST_TOKENS = 24576


def thinking_config(ask: ChatAsk, expressible: Expressible) -> dict[str, object]:
    """Empty when there is nothing to say."""
    asked = ask.reasoning
    if asked is None:
        return {}
    version = gemini_version(ask.model)
    is_off = asked.effort == "none" or asked.budget_tokens == 0
    if version is not None and version < (2, 5):
        if not is_off and (asked.effort is not None or asked.budget_tokens is not None or asked.shown):
            expressible.refuse("reasoning", f"{ask.model} does not think")
        return {}
    if is_off:
        return _without_thoughts(ask, version, expressible)
    if asked.effort is not None and asked.effort not in _LEVELS:
        expressible.refuse("reasoning", f"Gemini's efforts are none, {', '.join(_LEVELS)}")
        return {}
    config = _in_tokens(ask.model, asked) if version is not None and version < (3, 0) else _in_levels(ask.model, asked)
    if asked.shown:
        config["includeThoughts"] = True
    return config


def _without_thoughts(ask: ChatAsk, version: tuple[int, int] | None, expressible: Expressible) -> dict[str, object]:
    if version is None or _is_pro(ask.model):
        expressible.refuse("reasoning", f"{ask.model} always thinks; low is the least")
        return {}
    return {"thinkingBudget": 0} if version < (3, 0) else {"thinkingLevel": "MINIMAL"}


def _in_tokens(model: str, asked: Reasoning) -> dict[str, object]:
    most = _MOST_TOKENS_PRO if _is_pro(model) else _MOST_TOKENS
    if asked.budget_tokens is not None:
        return {"thinkingBudget": min(asked.budget_tokens, most)}
    return {"thinkingBudget": _BUDGETS[asked.effort]} if asked.effort is not None else {}


def _in_levels(model: str, asked: Reasoning) -> dict[str, object]:
    effort = asked.effort
    if effort is None and asked.budget_tokens is not None:
        effort = next(
            name for name in ("low", "medium", "max") if asked.budget_tokens <= _BUDGETS[name] or name == "max"
        )
    if effort is None:
        return {}
    level = _LEVELS[effort]
    return {"thinkingLevel": "LOW" if level == "MINIMAL" and _is_pro(model) else level}


def _is_pro(model: str) -> bool:
    return "-pro" in bare_name(model)
