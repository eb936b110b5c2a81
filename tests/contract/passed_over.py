"""What a client may say and a provider is not told, without a refusal: the whole list, and why each loss is harmless.

Nothing here changes what is answered: only cost, speed, or what is shown of it; or there is nothing to tell, because
the provider does it anyway. Everything else is told, refused, or dropped and named.
"""

from typing import NamedTuple

OPENAI, COMPATIBLE, COHERE = "openai", "compatible", "cohere"
BY_BUDGET, BY_EFFORT = "anthropic, by budget", "anthropic, by effort"
LEVELS, BUDGETS = "google, in levels", "google, in tokens"

ANTHROPICS = frozenset({BY_BUDGET, BY_EFFORT})
GOOGLES = frozenset({LEVELS, BUDGETS})
LIKE_OPENAI = frozenset({OPENAI, COMPATIBLE})
ALL = ANTHROPICS | GOOGLES | LIKE_OPENAI | {COHERE}


class Hint(NamedTuple):
    whats: frozenset[str]
    providers: frozenset[str]
    why: str


def _hint(whats: str, providers: frozenset[str], why: str) -> Hint:
    return Hint(frozenset(what.strip() for what in whats.split(";")), providers, why)


HINTS = (
    _hint(
        "Text.cache; Text.cache (system); Text.cache (assistant); Image.cache; Image.cache (linked); ToolUse.cache; "
        "ToolResult.cache; Tool.cache",
        ALL - ANTHROPICS,
        "They cache by themselves, and take no marks. Only the cost differs.",
    ),
    _hint("Document.cache; Document.cache (plain)", GOOGLES | LIKE_OPENAI, "Likewise."),
    _hint("Document.cache (linked)", GOOGLES, "Likewise."),
    _hint("metadata", ALL - LIKE_OPENAI, "It is filed beside the request, and nobody reads it for the answer."),
    _hint("prompt_cache_key", ALL - LIKE_OPENAI, "It says where to look in OpenAI's cache."),
    _hint("user", GOOGLES | {COHERE}, "It says who is to blame for abuse; no answer depends on it."),
    _hint(
        "Text.signature (assistant); ToolUse.signature",
        ALL - GOOGLES,
        "Gemini's own word over its thoughts, in a conversation that another provider goes on with.",
    ),
    _hint(
        "Thinking (of another provider); Thinking (not signed)",
        ALL - {COHERE},
        "A provider takes only thoughts that it signed itself. What was concluded is in the text.",
    ),
    _hint("RedactedThinking at all; RedactedThinking.data", ALL - ANTHROPICS, "Nobody but Anthropic can read them."),
    _hint("Thinking at all; Thinking.text", LIKE_OPENAI, "A chat completion has no place for thoughts."),
    _hint("ToolResult.name", ALL - GOOGLES, "The id names the call, and the call names the tool."),
    _hint("Document.media_type (plain)", ALL - {COHERE}, "What is plain text already needs no decoding."),
    _hint("Turn.role (system, developer)", ALL - {OPENAI}, "Both are the system's words where there is one such role."),
    _hint("ResponseFormat.name", ALL - LIKE_OPENAI, "It names the schema, not what is in it."),
    _hint("ResponseFormat.strict", ALL - LIKE_OPENAI, "A schema is always held to."),
    _hint("ResponseFormat.strict (false)", GOOGLES | {COHERE}, "A schema is always held to, which fits it too."),
    _hint("Tool.strict (false)", ALL - LIKE_OPENAI, "It is what happens when nothing is said."),
    _hint("ToolChoice.mode (auto)", frozenset({COHERE}), "It is what happens when nothing is said."),
    _hint(
        "Reasoning.effort (none); Reasoning.budget_tokens (0)",
        frozenset({BY_BUDGET}),
        "This model does not think unasked.",
    ),
    _hint(
        "Reasoning.budget_tokens beside effort",
        ALL - {BUDGETS, COHERE},
        "How much to think is said once: the effort counts where a model knows efforts.",
    ),
    _hint(
        "Reasoning.shown beside effort; Reasoning.shown (false); Reasoning.shown alone",
        LIKE_OPENAI | {COHERE},
        "They show their thoughts always, or never.",
    ),
    _hint("Reasoning.shown (false)", GOOGLES, "Thoughts are shown only to who asks for them."),
    _hint("Reasoning.shown alone", frozenset({BY_BUDGET}), "There is nothing to show of a model that does not think."),
)


def reason_for(provider: str, what: str) -> str | None:
    return next((hint.why for hint in HINTS if provider in hint.providers and what in hint.whats), None)
