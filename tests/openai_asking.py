"""Questions in OpenAI's words: to OpenAI itself, to what speaks like it, and to what wants its thoughts back."""

from typing import Any

import msgspec
from openai.types.chat import ChatCompletionMessageParam
from pydantic import TypeAdapter

from adapters.providers.openai.requests import OpenAIChatVocabulary
from adapters.providers.vocabulary import ChatVocabulary
from domain.chat import ChatAsk, Expressible, Part, Role, Turn

OPENAI = OpenAIChatVocabulary()
LIKE_IT = OpenAIChatVocabulary(strict=False, developer_role=False, max_completion_tokens=False)
DEEPSEEK = OpenAIChatVocabulary(strict=False, developer_role=False, max_completion_tokens=False, sends_reasoning=True)
MESSAGE: TypeAdapter[Any] = TypeAdapter(ChatCompletionMessageParam)


def turn(role: Role, *parts: Part, name: str | None = None) -> Turn:
    return Turn(role=role, parts=parts, name=name)


def ask(*turns: Turn, **said: Any) -> ChatAsk:
    return ChatAsk(model="upstream", turns=turns, **said)


def body(asked: ChatAsk, vocabulary: ChatVocabulary = OPENAI) -> dict[str, Any]:
    return msgspec.json.decode(vocabulary.request_body(asked, Expressible("openai", asked.names, drop=False)))


def messages(*turns: Turn, vocabulary: ChatVocabulary = OPENAI) -> list[dict[str, Any]]:
    written = body(ask(*turns), vocabulary)["messages"]
    for message in written:
        MESSAGE.validate_python(message)
    return written
