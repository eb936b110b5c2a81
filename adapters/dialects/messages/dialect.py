"""The whole dialect: Anthropic's Messages as the format of a client, whoever answers."""

import msgspec

from adapters.dialects.dialect import ClientRequest
from adapters.dialects.messages import answer as answers
from adapters.dialects.messages import ask, request
from adapters.dialects.messages.writer import MessagesWriter
from domain.answer import Answer
from domain.chat import ChatAsk
from domain.upstream import Endpoint, ProviderCall


class MessagesDialect:
    """Implements `ChatDialect`."""

    endpoint: Endpoint = "messages"

    def check(self, body: bytes) -> ClientRequest:
        return request.check(body)

    def check_count(self, body: bytes) -> ClientRequest:
        """As `check`, of a request to count its tokens: it has no output."""
        return request.check_count(body)

    def read(self, call: ProviderCall) -> ChatAsk:
        return ask.read(call)

    def whole(self, answer: Answer, call: ProviderCall) -> bytes:
        return answers.whole(answer, call)

    def counted(self, input_tokens: int) -> bytes:
        """The answer to `count_tokens`."""
        return msgspec.json.encode({"input_tokens": input_tokens})

    def writer(self, call: ProviderCall) -> MessagesWriter:
        return MessagesWriter(call)
