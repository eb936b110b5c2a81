"""Gemini's models behind `generateContent`."""

from adapters.providers.gemini.answers import GeminiReader
from adapters.providers.gemini.models import method_path
from adapters.providers.gemini.request import SUPPORTED, request_body
from domain.answer import AnswerEvent
from domain.chat import ChatAsk, Expressible


class GeminiVocabulary:
    """Says `ChatVocabulary`."""

    has_end_mark = False
    supports = SUPPORTED | {"image", "document", "audio", "tools", "thinking"}

    def path(self, ask: ChatAsk) -> str:
        if ask.stream:
            return method_path(ask.model, "streamGenerateContent") + "?alt=sse"
        return method_path(ask.model, "generateContent")

    def request_body(self, ask: ChatAsk, expressible: Expressible) -> bytes:
        return request_body(ask, expressible)

    def read(self, body: bytes) -> list[AnswerEvent]:
        reader = GeminiReader()
        return reader.read(body) + reader.close()

    def reader(self) -> GeminiReader:
        return GeminiReader()
