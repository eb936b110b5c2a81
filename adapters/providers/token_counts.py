"""How a provider is asked what an input has, free of charge."""

from typing import Protocol

from adapters.dialects.dialect import Dialects
from domain.chat import ChatAsk, Expressible
from domain.upstream import ProviderCall


class TokenCounter(Protocol):
    """A passthrough where the provider speaks the client's format, else a translation."""

    def request(self, call: ProviderCall) -> tuple[str, bytes]:
        """Path and body. Raises InvalidInput and UnsupportedParameter."""
        ...

    def read(self, body: bytes) -> int:
        """Raises ErrorInAnswer."""
        ...


class CountVocabulary(Protocol):
    def path(self, ask: ChatAsk) -> str: ...

    def request_body(self, ask: ChatAsk, expressible: Expressible) -> bytes: ...

    def read(self, body: bytes) -> int: ...


class TranslatedCount:
    def __init__(self, provider: str, vocabulary: CountVocabulary, dialects: Dialects) -> None:
        self._provider = provider
        self._vocabulary = vocabulary
        self._dialects = dialects

    def request(self, call: ProviderCall) -> tuple[str, bytes]:
        ask = self._dialects.chat[call.endpoint].read(call)
        expressible = Expressible(self._provider, ask.names, drop=call.drop_params)
        return self._vocabulary.path(ask), self._vocabulary.request_body(ask, expressible)

    def read(self, body: bytes) -> int:
        return self._vocabulary.read(body)
