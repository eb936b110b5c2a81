"""What a body was before it was sent. Nobody asks for compression, and some provider may send it all the same."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Protocol

PIECE_BYTES = 256 * 1024
GZIP_OR_ZLIB = zlib.MAX_WBITS + 32
COMPRESSED = frozenset({"gzip", "x-gzip", "deflate"})


class UnreadableBody(Exception):
    """An encoding that nobody knows, bytes that are not in it, or not all of them."""


class Decoder(Protocol):
    """Of one body. Both raise UnreadableBody."""

    def pieces(self, data: bytes) -> Iterable[bytes]:
        """What the next bytes mean."""
        ...

    def end(self) -> None:
        """There are no more."""
        ...


class _Identity:
    def pieces(self, data: bytes) -> Iterable[bytes]:
        return (data,)

    def end(self) -> None:
        return


class _Inflater:
    """In pieces of at most PIECE_BYTES, however much a few bytes grow to. Nothing may follow what was compressed."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(GZIP_OR_ZLIB)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        rest = data
        try:
            while rest:
                yield self._inflater.decompress(rest, PIECE_BYTES)
                if self._inflater.unused_data:
                    raise UnreadableBody
                rest = self._inflater.unconsumed_tail
        except zlib.error:
            raise UnreadableBody from None

    def end(self) -> None:
        if not self._inflater.eof:
            raise UnreadableBody


_IDENTITY = _Identity()


def decoder_for(encoding: str) -> Decoder:
    """By what `content-encoding` says. Raises UnreadableBody."""
    said = encoding.strip().lower()
    if said in COMPRESSED:
        return _Inflater()
    if said not in ("", "identity"):
        raise UnreadableBody
    return _IDENTITY
