"""A provider behind HTTP: where it speaks the client's own format bytes pass through, elsewhere they are translated."""

from collections.abc import Mapping

import msgspec

from adapters.dialects.dialect import Dialects
from adapters.providers.embeddings import EmbeddingsCall
from adapters.providers.http import ProviderHttp
from adapters.providers.passed_through import PassedThrough, PassedThroughChat
from adapters.providers.passthrough import Passthrough, WholePassthrough
from adapters.providers.token_counts import TokenCounter
from adapters.providers.translation import TranslatedCall
from adapters.providers.vocabulary import ChatVocabulary, EmbeddingVocabulary, ErrorInAnswer
from domain.errors import UnsupportedParameter
from domain.ports import PreparedCall
from domain.upstream import Endpoint, ProviderCall


class Speech(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider speaks: whole formats of clients, and its own for chats and embeddings.

    `takes_anything`: it knows its parameters better than we do, so every one is sent to it.
    """

    passthroughs: Mapping[Endpoint, Passthrough] = {}
    embeddings_passthrough: WholePassthrough | None = None
    chat: ChatVocabulary | None = None
    embeddings: EmbeddingVocabulary | None = None
    counter: TokenCounter | None = None
    takes_anything: bool = False


class HttpProvider:
    def __init__(self, http: ProviderHttp, speech: Speech, dialects: Dialects) -> None:
        self.name = http.provider
        self._http = http
        self._speech = speech
        self._dialects = dialects

    def can(self, capability: str) -> bool:
        speech = self._speech
        if capability == "embeddings":
            return speech.embeddings is not None or speech.embeddings_passthrough is not None
        if capability == "count_tokens":
            return speech.counter is not None
        if capability == "completions" and speech.chat is not None:
            return True
        return speech.takes_anything or (speech.chat is not None and capability in speech.chat.supports)

    def prepare(self, call: ProviderCall) -> PreparedCall:
        if call.endpoint == "embeddings":
            return self._prepare_embeddings(call)
        if passthrough := self._speech.passthroughs.get(call.endpoint):
            return PassedThroughChat(self._http, passthrough, call)
        if self._speech.chat is None:
            raise self._lacks(call.endpoint)
        return TranslatedCall(self._http, self._speech.chat, self._dialects.chat[call.endpoint], call)

    def _prepare_embeddings(self, call: ProviderCall) -> PreparedCall:
        if self._speech.embeddings_passthrough is not None:
            return PassedThrough(self._http, self._speech.embeddings_passthrough, call)
        if self._speech.embeddings is None:
            raise self._lacks("embeddings")
        return EmbeddingsCall(self._http, self._speech.embeddings, self._dialects.embeddings, call)

    async def count_tokens(self, call: ProviderCall) -> int:
        counter = self._speech.counter
        if counter is None:
            raise self._lacks("count_tokens")
        path, body = counter.request(call)
        answer = await self._http.post(path, body, call.request_id)
        try:
            return counter.read(answer)
        except ErrorInAnswer as error:
            raise self._http.broken(error) from None

    def _lacks(self, capability: str) -> UnsupportedParameter:
        return UnsupportedParameter("model", f"model: {self.name} has no {capability} here.", capability=capability)
