"""Whatever the neutral shape can say reaches a provider, is refused, or stands in the one list of harmless losses."""

from typing import NamedTuple

import msgspec
import pytest

from adapters.providers.vocabulary import ChatVocabulary
from api import providers
from domain import chat
from domain.chat import HINTS, OPTIONS, ChatAsk, Expressible
from domain.errors import InvalidInput, UnsupportedParameter
from tests.contract import passed_over
from tests.contract.neutral_changes import Change, all_changes, ask
from tests.contract.passed_over import reason_for

STRUCTS = (
    chat.Text,
    chat.Image,
    chat.Document,
    chat.Audio,
    chat.Thinking,
    chat.RedactedThinking,
    chat.Refusal,
    chat.ToolUse,
    chat.ToolResult,
    chat.Turn,
    chat.Tool,
    chat.ToolChoice,
    chat.ResponseFormat,
    chat.Reasoning,
)


class Spoken(NamedTuple):
    """`signature` is one that the provider takes for its own."""

    vocabulary: ChatVocabulary | None
    model: str
    signature: str | None = None


SPOKEN = {
    passed_over.OPENAI: Spoken(providers.OPENAI.chat, "gpt-6"),
    passed_over.COMPATIBLE: Spoken(providers.COMPATIBLE.chat, "qwen-4"),
    passed_over.BY_BUDGET: Spoken(providers.ANTHROPIC.chat, "claude-sonnet-4-6", "c2lnbmVk"),
    passed_over.BY_EFFORT: Spoken(providers.ANTHROPIC.chat, "claude-opus-5", "c2lnbmVk"),
    passed_over.LEVELS: Spoken(providers.GOOGLE.chat, "gemini-3-flash", "gemini:c2lnbmVk"),
    passed_over.BUDGETS: Spoken(providers.GOOGLE.chat, "gemini-2.5-flash", "gemini:c2lnbmVk"),
    passed_over.COHERE: Spoken(providers.COHERE.chat, "command-a"),
}
CHANGES = [(name, change) for name, spoken in SPOKEN.items() for change in all_changes(spoken.signature)]


def sent(provider: str, asked: ChatAsk, expressible: Expressible | None = None) -> tuple[str, bytes]:
    vocabulary = SPOKEN[provider].vocabulary
    assert vocabulary is not None
    asked = msgspec.structs.replace(asked, model=SPOKEN[provider].model)
    return vocabulary.path(asked), vocabulary.request_body(asked, expressible or Expressible(provider, {}, drop=False))


def is_refused(provider: str, asked: ChatAsk) -> bool:
    """By a name; with leave to drop it, an option is named as dropped, and content is refused all the same."""
    try:
        sent(provider, asked)
    except UnsupportedParameter as refusal:
        assert refusal.field is not None
        assert refusal.capability
        forgiving = Expressible(provider, {}, drop=True)
        try:
            sent(provider, asked, forgiving)
        except UnsupportedParameter as still:
            assert still.field == refusal.field
            assert refusal.field.startswith("messages[")
        else:
            assert forgiving.dropped[0] == refusal.field
        return True
    return False


def is_told(provider: str, change: Change) -> bool:
    return is_refused(provider, change.after) or sent(provider, change.before) != sent(provider, change.after)


def said_of(what: str) -> str:
    return what.partition(" ")[0]


@pytest.mark.parametrize(
    ("provider", "change"),
    CHANGES,
    ids=[f"{name}-{change.what}-{place}" for place, (name, change) in enumerate(CHANGES)],
)
def test_what_is_said_is_told_or_refused_or_known_to_be_harmless(provider: str, change: Change) -> None:
    assert is_told(provider, change) or reason_for(provider, change.what)


def test_the_list_of_harmless_losses_has_none_that_is_not_lost() -> None:
    lost = {(name, change.what) for name, change in CHANGES if not is_told(name, change)}

    listed = {(name, what) for hint in passed_over.HINTS for name in hint.providers for what in hint.whats}

    assert listed == lost


def test_every_option_and_every_field_is_tried() -> None:
    tried = {said_of(change.what) for _, change in CHANGES}

    fields = {f"{kind.__name__}.{field}" for kind in STRUCTS for field in kind.__struct_fields__}
    assert fields <= tried
    assert set(OPTIONS) <= tried


def test_a_hint_is_an_option_that_no_provider_refuses() -> None:
    said = {"user": "u1", "metadata": msgspec.Raw(b'{"team":"a"}'), "prompt_cache_key": "k"}

    assert said.keys() == HINTS
    assert set(OPTIONS) >= HINTS
    for provider in SPOKEN:
        assert not is_refused(provider, ask(**said))


def test_whether_it_is_streamed_and_which_model_it_is_is_always_told() -> None:
    for provider, spoken in SPOKEN.items():
        assert spoken.vocabulary is not None
        whole, streamed = sent(provider, ask()), sent(provider, ask(stream=True))
        assert whole != streamed
        assert any(spoken.model.encode() in said for said in (whole[0].encode(), whole[1]))


def test_what_was_dropped_by_leave_leaves_the_rest_as_it_was() -> None:
    """The whole request of everything that can be dropped, against the plain one."""
    everything = ask(
        top_k=7,
        seed=7,
        n=2,
        presence_penalty=0.5,
        logit_bias=msgspec.Raw(b'{"7":1}'),
        verbosity="low",
        extras={"unheard_of": msgspec.Raw(b"1")},
    )
    for provider in (name for name in SPOKEN if name not in passed_over.LIKE_OPENAI):
        forgiving = Expressible(provider, {}, drop=True)
        with pytest.raises(InvalidInput):
            sent(provider, everything)
        body = sent(provider, everything, forgiving)
        said = dict.fromkeys(name for name in forgiving.dropped if name in OPTIONS)
        left = msgspec.structs.replace(everything, extras={}, **said)
        assert body == sent(provider, left)
        assert {"unheard_of", "verbosity", "logit_bias"} <= set(forgiving.dropped)
