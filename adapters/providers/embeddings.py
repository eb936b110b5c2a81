"""Embeddings of a provider that does not speak OpenAI's: perhaps in several calls, one answer for the client."""

from collections.abc import AsyncIterator, Sequence

from adapters.dialects.dialect import EmbeddingDialect
from adapters.providers.http import ProviderHttp
from adapters.providers.passed_through import NOT_STREAMED
from adapters.providers.vocabulary import EmbeddingVocabulary, ErrorInAnswer
from domain.chat import Expressible
from domain.upstream import ProviderCall, Reply, ReplyPiece


class EmbeddingsCall:
    """Perhaps several calls of the provider, all or nothing; made one after the other."""

    def __init__(
        self, http: ProviderHttp, vocabulary: EmbeddingVocabulary, dialect: EmbeddingDialect, call: ProviderCall
    ) -> None:
        self._ask = dialect.read(call)
        expressible = Expressible(http.provider, {}, drop=call.drop_params)
        self._http = http
        self._vocabulary = vocabulary
        self._dialect = dialect
        self._call = call
        self._requests = vocabulary.requests(self._ask, expressible)
        self.dropped: Sequence[str] = expressible.dropped

    async def complete(self) -> Reply:
        bodies = [await self._http.post(path, body, self._call.request_id) for path, body in self._requests]
        try:
            embeddings = self._vocabulary.read(self._ask, bodies)
        except ErrorInAnswer as error:
            raise self._http.broken(error) from None
        body = self._dialect.whole(embeddings, self._call)
        return Reply(body, embeddings.model or self._call.upstream_model, "stop", embeddings.usage, 0)

    def stream(self) -> AsyncIterator[ReplyPiece]:
        raise NOT_STREAMED
