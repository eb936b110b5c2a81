"""The whole dialect: OpenAI's Responses as the format of a client, whoever answers."""

from adapters.dialects.dialect import ClientRequest
from adapters.dialects.responses import ask, check, writer
from domain.answer import Answer
from domain.chat import ChatAsk
from domain.upstream import Endpoint, ProviderCall


class ResponsesDialect:
    """Implements `ChatDialect`. Nothing is stored: a conversation comes whole with every request."""

    endpoint: Endpoint = "responses"

    def check(self, body: bytes) -> ClientRequest:
        return check.check(body)

    def read(self, call: ProviderCall) -> ChatAsk:
        return ask.read(call)

    def whole(self, answer: Answer, call: ProviderCall) -> bytes:
        return writer.whole(answer, call)

    def writer(self, call: ProviderCall) -> writer.ResponseWriter:
        return writer.ResponseWriter(call)
