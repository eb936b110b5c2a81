"""The whole dialect: text completions as the format of a client, whoever answers."""

from adapters.dialects.completions.answer import CompletionWriter, whole
from adapters.dialects.completions.request import check, read
from adapters.dialects.dialect import ClientRequest
from domain.answer import Answer
from domain.chat import ChatAsk
from domain.upstream import Endpoint, ProviderCall


class CompletionsDialect:
    """Implements `ChatDialect`."""

    endpoint: Endpoint = "completions"

    def check(self, body: bytes) -> ClientRequest:
        return check(body)

    def read(self, call: ProviderCall) -> ChatAsk:
        return read(call)

    def whole(self, answer: Answer, call: ProviderCall) -> bytes:
        return whole(answer, call)

    def writer(self, call: ProviderCall) -> CompletionWriter:
        return CompletionWriter(call)
