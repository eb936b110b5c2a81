"""Asking Cohere: what is sent is held against the types of its own SDK, which knows no other member."""

import inspect
from typing import Any

import msgspec
import pytest
from cohere.types.chat_message_v2 import ChatMessageV2
from cohere.types.response_format_v2 import ResponseFormatV2
from cohere.types.thinking import Thinking
from cohere.types.tool_v2 import ToolV2
from cohere.v2.raw_client import RawV2Client
from pydantic import BaseModel, TypeAdapter

from adapters.providers.cohere.chat import CohereVocabulary
from domain.chat import ChatAsk, Expressible, Part, Role, Text, Turn
from domain.errors import UnsupportedParameter

COHERE = CohereVocabulary()
PARAMETERS = {*inspect.signature(RawV2Client.chat).parameters, "stream"}
SCHEMA = b'{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'
HI = Turn(role="user", parts=(Text(text="Hi"),))


def turn(role: Role, *parts: Part) -> Turn:
    return Turn(role=role, parts=parts)


def ask(*turns: Turn, **options: Any) -> ChatAsk:
    return ChatAsk(model="command-a-03-2025", turns=turns or (HI,), **options)


def body(asked: ChatAsk) -> dict[str, Any]:
    """What is sent. Holds every member against the SDK."""
    sent = msgspec.json.decode(COHERE.request_body(asked, Expressible("Cohere", asked.names, drop=False)))
    assert sent.keys() <= PARAMETERS
    held: dict[Any, list[Any]] = {
        ChatMessageV2: sent["messages"],
        ToolV2: sent.get("tools", []),
        Thinking: [sent["thinking"]] if "thinking" in sent else [],
        ResponseFormatV2: [sent["response_format"]] if "response_format" in sent else [],
    }
    for kind, values in held.items():
        for value in values:
            assert_known(TypeAdapter[Any](kind).validate_python(value))
    return sent


def assert_known(value: Any) -> None:
    if isinstance(value, BaseModel):
        assert not value.model_extra
        for name in type(value).model_fields:
            assert_known(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            assert_known(item)


def refusal(asked: ChatAsk) -> UnsupportedParameter:
    with pytest.raises(UnsupportedParameter) as refused:
        body(asked)
    return refused.value
