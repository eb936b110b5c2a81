"""The whole dialect: chat completions as the format of a client, whoever answers."""

from adapters.dialects.chat_completions.ask import read
from adapters.dialects.chat_completions.check import check
from adapters.dialects.chat_completions.stream import ChatWriter
from adapters.dialects.chat_completions.whole import whole
from adapters.dialects.dialect import ClientRequest
from domain.answer import Answer
from domain.chat import ChatAsk
from domain.upstream import Endpoint, ProviderCall


class ChatCompletionsDialect:
    """Implements `ChatDialect`."""

    endpoint: Endpoint = "chat.completions"

    def check(self, body: bytes) -> ClientRequest:
        return check(body)

    def read(self, call: ProviderCall) -> ChatAsk:
        return read(call)

    def whole(self, answer: Answer, call: ProviderCall) -> bytes:
        return whole(answer, call)

    def writer(self, call: ProviderCall) -> ChatWriter:
        return ChatWriter(call)
