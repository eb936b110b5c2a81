"""Every word of a conversation that a provider can be told, wherever it stands, is in the request that it gets."""

from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.vocabulary import ChatVocabulary
from api import providers
from domain.chat import (
    Audio,
    ChatAsk,
    Document,
    Expressible,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from tests.contract.neutral_asks import WORDS, conversations, texts, tool_uses, tools

VOCABULARIES = {
    "gpt-6": providers.OPENAI.chat,
    "qwen-4": providers.COMPATIBLE.chat,
    "claude-opus-5": providers.ANTHROPIC.chat,
    "gemini-3-flash": providers.GOOGLE.chat,
    "gemini-2.5-flash": providers.GOOGLE.chat,
    "command-a": providers.COHERE.chat,
}
TEXTS = texts()
IMAGES = st.builds(Image, data=WORDS, media_type=st.just("image/png"))
PLAIN = st.builds(Document, text=WORDS, title=st.none() | WORDS)
FILES = PLAIN | st.builds(Document, data=WORDS, media_type=st.just("application/pdf"), title=st.none() | WORDS)
AUDIO = st.builds(Audio, data=WORDS, format=st.just("wav"))
Parts = st.SearchStrategy[Any]
OF_OPENAI: tuple[Parts, Parts] = (TEXTS | IMAGES | FILES | AUDIO, TEXTS | PLAIN)
OF_GOOGLE: tuple[Parts, Parts] = (TEXTS | IMAGES | FILES | AUDIO, TEXTS | IMAGES | FILES)
TAKEN: dict[str, tuple[Parts, Parts]] = {
    "gpt-6": OF_OPENAI,
    "qwen-4": OF_OPENAI,
    "claude-opus-5": (TEXTS | IMAGES | FILES, TEXTS | IMAGES | FILES),
    "gemini-3-flash": OF_GOOGLE,
    "gemini-2.5-flash": OF_GOOGLE,
    "command-a": (TEXTS | IMAGES, TEXTS | PLAIN),
}
"""From a user, and in a result: what is not refused."""


def turns_for(model: str) -> st.SearchStrategy[tuple[Turn, ...]]:
    user_parts, result_parts = TAKEN[model]
    return conversations(
        user_parts=user_parts,
        said_parts=TEXTS | st.builds(Refusal, text=WORDS),
        result_parts=result_parts,
        thoughts=st.just(()) | st.tuples(st.builds(Thinking, text=WORDS)),
        result=st.fixed_dictionaries({"is_error": st.booleans()}),
        calls=tool_uses(),
    )


def words_of(part: Part) -> Iterator[str | None]:
    match part:
        case Text() | Refusal():
            yield part.text
        case Image() | Audio():
            yield part.data
        case Document():
            yield from (part.text, part.data, part.title)
        case ToolUse():
            yield from (part.id, part.name, *strings_in(msgspec.json.decode(part.arguments)))
        case ToolResult():
            yield part.tool_use_id
            for inner in part.parts:
                yield from words_of(inner)
        case _:
            return


def strings_in(value: object) -> Iterator[str]:
    """Keys too; and of texts that hold JSON, what they hold."""
    if isinstance(value, str):
        yield value
        if value.startswith("{"):
            try:
                yield from strings_in(msgspec.json.decode(value))
            except msgspec.DecodeError:
                return
    elif isinstance(value, dict):
        for key, member in cast("dict[str, Any]", value).items():
            yield key
            yield from strings_in(member)
    elif isinstance(value, list):
        for member in cast("list[Any]", value):
            yield from strings_in(member)


def written(vocabulary: ChatVocabulary | None, asked: ChatAsk) -> bytes:
    assert vocabulary is not None
    return vocabulary.request_body(asked, Expressible("p", {}, drop=False))


@pytest.mark.parametrize("model", VOCABULARIES)
@given(data=st.data(), offered=tools(), system=st.lists(texts(), max_size=2))
def test_every_word_is_in_the_request(model: str, data: st.DataObject, offered: Any, system: list[Text]) -> None:
    first = (Turn(role="system", parts=tuple(system)),) if system else ()
    asked = ChatAsk(model=model, turns=first + data.draw(turns_for(model)), tools=offered)

    sent = "\n".join(strings_in(msgspec.json.decode(written(VOCABULARIES[model], asked))))

    said = [word for turn in asked.turns for part in turn.parts for word in words_of(part)]
    said += [word for tool in offered for word in (tool.name, tool.description)]
    assert [word for word in said if word is not None and word not in sent] == []


@pytest.mark.parametrize("model", VOCABULARIES)
@given(data=st.data())
def test_turns_never_change_their_order(model: str, data: st.DataObject) -> None:
    turns = data.draw(turns_for(model))
    numbered = tuple(
        Turn(role=turn.role, parts=(Text(text=f"<{place}>"),))
        for place, turn in enumerate(turns)
        if turn.role != "tool"
    )

    sent = "\n".join(
        strings_in(msgspec.json.decode(written(VOCABULARIES[model], ChatAsk(model=model, turns=numbered))))
    )

    places = [sent.index(text) for turn in numbered for text in words_of(turn.parts[0]) if text]
    assert places == sorted(places)
