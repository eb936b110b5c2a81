"""Cohere's chats, API v2."""

from adapters.providers.cohere.answer import events_of
from adapters.providers.cohere.request import SUPPORTS, request_body
from adapters.providers.cohere.stream import CohereReader
from domain.answer import AnswerEvent
from domain.chat import ChatAsk, Expressible


class CohereVocabulary:
    has_end_mark = True
    supports = SUPPORTS

    def path(self, ask: ChatAsk) -> str:
        return "/v2/chat"

    def request_body(self, ask: ChatAsk, expressible: Expressible) -> bytes:
        return request_body(ask, expressible)

    def read(self, body: bytes) -> list[AnswerEvent]:
        return events_of(body)

    def reader(self) -> CohereReader:
        return CohereReader()
