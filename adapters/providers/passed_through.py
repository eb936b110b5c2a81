"""Calls whose client speaks the provider's own format: bytes go through, and are only looked at."""

from collections.abc import AsyncIterator, Sequence

from adapters.providers.http import ProviderHttp
from adapters.providers.passthrough import Passthrough, WholePassthrough
from adapters.providers.streaming import pieces_of
from adapters.providers.vocabulary import ErrorInAnswer
from domain.errors import InvalidInput
from domain.upstream import ProviderCall, Reply, ReplyPiece

NOT_STREAMED = InvalidInput("stream: this endpoint answers whole.", field="stream")


class PassedThrough:
    """Answered whole."""

    dropped: Sequence[str] = ()

    def __init__(self, http: ProviderHttp, passthrough: WholePassthrough, call: ProviderCall) -> None:
        self._http = http
        self._passthrough = passthrough
        self._call = call
        self._body = passthrough.request_body(call)

    async def complete(self) -> Reply:
        body = await self._http.post(self._passthrough.path, self._body, self._call.request_id)
        try:
            return self._passthrough.reply(body, self._call)
        except ErrorInAnswer as error:
            raise self._http.broken(error) from None

    def stream(self) -> AsyncIterator[ReplyPiece]:
        raise NOT_STREAMED


class PassedThroughChat(PassedThrough):
    """Answered whole or streamed."""

    def __init__(self, http: ProviderHttp, passthrough: Passthrough, call: ProviderCall) -> None:
        super().__init__(http, passthrough, call)
        self._streaming = passthrough

    def stream(self) -> AsyncIterator[ReplyPiece]:
        reader = self._streaming.reader(self._call)
        return pieces_of(self._http, self._streaming.path, self._body, self._call, reader)
