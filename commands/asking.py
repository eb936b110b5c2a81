"""Sending a call: until its whole answer is there, or the beginning of a stream."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias, TypeVar

from commands.calls_under_way import Call
from domain.upstream import Reply, ReplyPiece

Answer = TypeVar("Answer")
Ask: TypeAlias = Callable[[Call], Awaitable[Answer]]
Begun: TypeAlias = tuple[ReplyPiece, AsyncIterator[ReplyPiece]]
"""The first piece, and those that follow."""


async def whole(call: Call) -> Reply:
    reply = await call.prepared.complete()
    call.usage = reply.usage
    return reply


async def first_piece(call: Call) -> Begun:
    """The first with something for the client, and in it what came before; an empty one when all is over."""
    held, pieces = ReplyPiece(b""), call.prepared.stream()
    async for piece in pieces:
        held = _joined(held, piece)
        call.usage = held.usage
        if held.data or held.closing:
            break
    return held, pieces


def _joined(held: ReplyPiece, piece: ReplyPiece) -> ReplyPiece:
    return ReplyPiece(
        held.data + piece.data,
        held.output_chars + piece.output_chars,
        piece.model or held.model,
        piece.finish_reason or held.finish_reason,
        piece.usage or held.usage,
        held.closing + piece.closing,
    )
