"""Sending a call: until its whole answer is there, or the beginning of a stream."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias, TypeVar

from commands.calls_under_way import Call
from domain.upstream import Reply, ReplyPiece

Answer = TypeVar("Answer")
Ask: TypeAlias = Callable[[Call], Awaitable[Answer]]


async def whole(call: Call) -> Reply:
    reply = await call.prepared.complete()
    call.usage = reply.usage
    return reply


async def first_piece(call: Call) -> ReplyPiece:
    """The first with something for the client, and in it what came before; an empty one when all is over. The others
    are `call.pieces` then, to be closed."""
    held, pieces = ReplyPiece(b""), call.prepared.stream()
    async for piece in pieces:
        held = _joined(held, piece)
        call.usage = held.usage
        if held.data or held.closing:
            break
    call.pieces = pieces
    return held


async def close(pieces: AsyncIterator[ReplyPiece] | None) -> None:
    """Nobody reads them any more: what they come from is given back now, and not when the garbage is collected. A
    failure at that changes nothing for anybody."""
    if isinstance(pieces, AsyncGenerator):
        with suppress(Exception):
            await pieces.aclose()


def _joined(held: ReplyPiece, piece: ReplyPiece) -> ReplyPiece:
    return ReplyPiece(
        held.data + piece.data,
        held.output_chars + piece.output_chars,
        piece.model or held.model,
        piece.finish_reason or held.finish_reason,
        piece.usage or held.usage,
        held.closing + piece.closing,
    )
