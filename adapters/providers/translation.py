"""A call in the client's words, put to a provider of other words, and its answer put back."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from adapters.dialects.dialect import AnswerWriter, ChatDialect
from adapters.providers.http import ProviderHttp
from adapters.providers.streaming import pieces_of
from adapters.providers.vocabulary import ChatVocabulary, ErrorInAnswer, StreamReader
from domain.answer import AnswerEvent, Finished, Started, TextDelta, Used, output_chars, whole
from domain.chat import Expressible
from domain.upstream import ProviderCall, Reply, ReplyPiece, Usage


class TranslatedCall:
    """Raises InvalidInput and UnsupportedParameter when made: what the provider has no words for is never sent."""

    def __init__(
        self, http: ProviderHttp, vocabulary: ChatVocabulary, dialect: ChatDialect, call: ProviderCall
    ) -> None:
        ask = msgspec.structs.replace(dialect.read(call), output_bound=call.max_output_tokens)
        expressible = Expressible(http.provider, ask.names, drop=call.drop_params)
        self._http = http
        self._vocabulary = vocabulary
        self._dialect = dialect
        self._call = call
        self._path = vocabulary.path(ask)
        self._body = vocabulary.request_body(ask, expressible)
        self.dropped: Sequence[str] = expressible.dropped

    async def complete(self) -> Reply:
        body = await self._http.post(self._path, self._body, self._call.request_id)
        try:
            events = self._vocabulary.read(body)
        except ErrorInAnswer as error:
            raise self._http.broken(error) from None
        return reply_of(events, self._dialect, self._call)

    async def stream(self) -> AsyncGenerator[ReplyPiece]:
        writer = self._dialect.writer(self._call)
        reader = TranslatingReader(self._vocabulary.reader(), writer)
        pieces = pieces_of(
            self._http, self._path, self._body, self._call, reader, to_end=not self._vocabulary.has_end_mark
        )
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
        rest, closing = writer.close()
        yield ReplyPiece(rest, closing=closing)


class TranslatingReader:
    """From a provider's events to pieces in the client's format."""

    def __init__(self, reader: StreamReader, writer: AnswerWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def ended(self) -> bool:
        return self._reader.ended

    def read(self, data: bytes) -> ReplyPiece:
        events = self._reader.read(data)
        if len(events) == 1 and type(text := events[0]) is TextDelta:
            return ReplyPiece(self._writer.write(events), len(text.text))
        return piece_of(events, self._writer)


def reply_of(events: Sequence[AnswerEvent], dialect: ChatDialect, call: ProviderCall) -> Reply:
    answer = whole(events)
    return Reply(
        body=dialect.whole(answer, call),
        model=answer.model or call.upstream_model,
        finish_reason=answer.choices[0].finish.reason,
        usage=answer.usage,
        output_chars=output_chars(events),
    )


def piece_of(events: Sequence[AnswerEvent], writer: AnswerWriter) -> ReplyPiece:
    model, finish_reason = "", None
    usage: Usage | None = None
    for event in events:
        if isinstance(event, Started):
            model = event.model
        elif isinstance(event, Finished):
            finish_reason = event.reason
        elif isinstance(event, Used):
            usage = event.usage
    return ReplyPiece(writer.write(events), output_chars(events), model, finish_reason, usage)
