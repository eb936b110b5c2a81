"""The stream of a provider as pieces, whatever they are made of: one piece for all events that came in one read."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from adapters.providers.http import ProviderHttp
from adapters.providers.passthrough import PassthroughReader
from adapters.providers.sse import EventTooLarge, sse_data
from adapters.providers.vocabulary import ErrorInAnswer
from domain.errors import ProviderBroken
from domain.upstream import ProviderCall, ReplyPiece


async def pieces_of(
    http: ProviderHttp, path: str, body: bytes, call: ProviderCall, reader: PassthroughReader, *, to_end: bool = False
) -> AsyncGenerator[ReplyPiece]:
    """Raises the ProviderError family; what stands before a broken event is still given.

    Nothing is waited for once the reader has ended, except `to_end`: where there is no end mark, and more may follow.
    """
    try:
        async with (
            aclosing(http.post_stream(path, body, call.request_id)) as chunks,
            aclosing(sse_data(chunks)) as reads,
        ):
            async for events in reads:
                pieces, failure = _read_all(events, reader, to_end=to_end)
                if pieces:
                    yield joined(pieces)
                if failure:
                    raise http.broken(failure)
                if reader.ended and not to_end:
                    return
    except EventTooLarge:
        raise ProviderBroken(http.provider, "The provider sent an event larger than 8 MiB.") from None
    if not reader.ended:
        raise ProviderBroken(http.provider, "The provider's stream ended without its end mark.")


def _read_all(
    events: Sequence[bytes], reader: PassthroughReader, *, to_end: bool
) -> tuple[list[ReplyPiece], ErrorInAnswer | None]:
    pieces: list[ReplyPiece] = []
    for data in events:
        if reader.ended and not to_end:
            break
        try:
            pieces.append(reader.read(data))
        except ErrorInAnswer as failure:
            return pieces, failure
    return pieces, None


def joined(pieces: Sequence[ReplyPiece]) -> ReplyPiece:
    if len(pieces) == 1:
        return pieces[0]
    return ReplyPiece(
        data=b"".join(piece.data for piece in pieces),
        output_chars=sum(piece.output_chars for piece in pieces),
        model=next((piece.model for piece in pieces if piece.model), ""),
        finish_reason=next((piece.finish_reason for piece in reversed(pieces) if piece.finish_reason), None),
        usage=next((piece.usage for piece in reversed(pieces) if piece.usage), None),
        closing=b"".join(piece.closing for piece in pieces),
    )
