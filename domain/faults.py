"""What a failed call says about its deployment, its request and its bill. The one place that reads vendors' words.

Only statuses that blame the request are read for words: a 429 that advises to "reduce the prompt length" is a rate
limit. Codes and types are matched whole, messages by a telling part in lower case.
"""

import math
from collections.abc import Mapping
from typing import Literal

from domain.errors import (
    AggregatorError,
    CreditExhausted,
    InvalidInput,
    ProviderError,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnreachable,
    UnsupportedParameter,
)

Fault = Literal[
    "unreachable",
    "timeout",
    "broken",
    "overloaded",
    "throttled",
    "exhausted",
    "credentials",
    "missing",
    "context",
    "content",
    "request",
    "unaffordable",
    "ours",
]
"""`exhausted`: this key has no credit left at the provider. `missing`: not to be had at this deployment, or not for
this key. `request`: it would be refused everywhere. `unaffordable`: the account's credit does not hold its price.
`ours`: a part of this gateway failed."""

LONGEST_RETRY_AFTER_S = 120.0

CONTEXT_CODES = frozenset(
    {
        "context_length_exceeded",  # OpenAI, Azure, Groq, vLLM, OpenRouter
        "context_window_exceeded",
        "model_context_window_exceeded",  # Z.ai, Anthropic's newer details
        "string_above_max_length",  # OpenAI, one message above the limit
        "request_too_large",  # Anthropic, 413
        "exceed_context_size_error",  # llama.cpp
    }
)
CONTEXT_WORDS = (
    "maximum context length",  # OpenAI, Azure, vLLM, Mistral, OpenRouter
    "exceeds the context window",  # OpenAI responses
    "exceed context limit",  # Anthropic: input length and max_tokens exceed context limit
    "prompt is too long",  # Anthropic
    "input is too long",  # Bedrock
    "exceeds the maximum number of tokens allowed",  # Gemini
    "total number of tokens",  # Cohere: too many tokens: total number of tokens … cannot exceed
    "too large for model with",  # Mistral
    "reduce the length of the messages",  # Groq, OpenAI
    "maximum prompt length",  # xAI
    "exceeded model token limit",  # Moonshot
    "available context size",  # llama.cpp
    "longer than the model's context length",  # Together
)
CONTENT_CODES = frozenset(
    {
        "content_filter",  # OpenAI, Azure
        "content_policy_violation",  # OpenAI
        "responsibleaipolicyviolation",  # Azure
        "moderation_blocked",
        "invalid_prompt",  # OpenAI reasoning models: flagged as violating the usage policy
        "data_inspection_failed",  # Alibaba
        "prohibited_content",  # Gemini
        "safety",
        "blocklist",
    }
)
CONTENT_WORDS = (
    "content management policy",  # Azure
    "content policy",
    "content filtering policy",  # Anthropic: Output blocked by content filtering policy
    "usage policy",  # OpenAI, Anthropic
    "violating our usage",
    "safety system",  # OpenAI
    "blocked due to safety",  # Gemini
)
EXHAUSTED_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_error"})
EXHAUSTED_WORDS = ("credit balance is too low",)  # Anthropic; "exceeded your current quota" is Gemini's rate limit too
CREDENTIAL_CODES = frozenset({"invalid_api_key", "api_key_invalid", "authentication_error", "account_deactivated"})
MISSING_CODES = frozenset({"model_not_found", "not_found_error", "deploymentnotfound"})

BLAMES_REQUEST = frozenset({400, 403, 413, 422, 498})
"""Statuses behind which a length or a policy may be the reason."""
BY_STATUS: Mapping[int, Fault] = {
    401: "credentials",
    402: "exhausted",
    403: "missing",
    404: "missing",
    405: "missing",
    408: "overloaded",
    409: "overloaded",
    410: "missing",
    413: "context",
    425: "overloaded",
    429: "throttled",
    498: "content",  # Cohere: a token on its deny list
    501: "missing",
}

UNKNOWN: frozenset[Fault] = frozenset({"timeout", "broken"})
"""It was sent and no good end was seen: the provider may have worked, and may bill it."""
HARMS_DEPLOYMENT: frozenset[Fault] = frozenset(
    {"unreachable", "timeout", "broken", "overloaded", "throttled", "exhausted", "credentials"}
)
"""Counts against its breaker. 403 and 404 do not: what a client sends can bring them about."""


def fault_of(error: AggregatorError) -> Fault:
    """Of whatever a call or its preparation raised."""
    if isinstance(error, ProviderRefused):
        return _refusal(error)
    if isinstance(error, ProviderUnreachable):
        return "unreachable"
    if isinstance(error, ProviderTimeout):
        return "timeout"
    if isinstance(error, ProviderError):
        return "broken"
    if isinstance(error, CreditExhausted):
        return "unaffordable"
    if isinstance(error, UnsupportedParameter):
        return "missing"
    return "request" if isinstance(error, InvalidInput) else "ours"


def may_be_billed(error: AggregatorError) -> bool:
    return fault_of(error) in UNKNOWN


def retry_after_s(error: AggregatorError) -> float | None:
    """What the provider asks to wait; None for none, and for what is no length of time."""
    asked_s = error.retry_after_s if isinstance(error, ProviderRefused) else None
    return asked_s if asked_s is not None and math.isfinite(asked_s) and asked_s >= 0 else None


def _refusal(error: ProviderRefused) -> Fault:
    status = error.status
    words = {word.lower() for word in (error.code, error.error_type) if word}
    message = str(error).lower()
    if status in BLAMES_REQUEST and (reason := _reason(words, message)):
        return reason
    if status in (400, 403, 429) and (words & EXHAUSTED_CODES or _says(message, EXHAUSTED_WORDS)):
        return "exhausted"
    if status in (400, 403) and words & CREDENTIAL_CODES:
        return "credentials"
    if status == 400 and words & MISSING_CODES:
        return "missing"
    if status in BY_STATUS:
        return BY_STATUS[status]
    return "overloaded" if status >= 500 else "request" if 400 <= status < 500 else "missing"


def _reason(words: set[str], message: str) -> Fault | None:
    if words & CONTEXT_CODES or _says(message, CONTEXT_WORDS):
        return "context"
    return "content" if words & CONTENT_CODES or _says(message, CONTENT_WORDS) else None


def _says(message: str, telling: tuple[str, ...]) -> bool:
    return any(part in message for part in telling)
