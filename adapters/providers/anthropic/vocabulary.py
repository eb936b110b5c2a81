"""Anthropic's Messages API as a vocabulary: what it can express, and where it is said."""

from adapters.providers.anthropic.replies import read
from adapters.providers.anthropic.requests import OPTIONS, OWN_EXTRAS, request_body
from adapters.providers.anthropic.streams import AnthropicStreamReader
from adapters.providers.vocabulary import StreamReader
from domain.answer import AnswerEvent
from domain.chat import ChatAsk, Expressible

PATH = "/v1/messages"
HEADERS = {"anthropic-version": "2023-06-01"}
"""The version of 2026-10-21 takes temperature, top_p and top_k from the models that still have them."""


class AnthropicVocabulary:
    has_end_mark = True
    supports = OPTIONS | OWN_EXTRAS | {"image", "document", "tools", "thinking"}

    def path(self, ask: ChatAsk) -> str:
        return PATH

    def request_body(self, ask: ChatAsk, expressible: Expressible) -> bytes:
        return request_body(ask, expressible)

    def read(self, body: bytes) -> list[AnswerEvent]:
        return read(body)

    def reader(self) -> StreamReader:
        return AnthropicStreamReader()
