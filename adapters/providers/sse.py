"""Server-sent events out of a byte stream whose chunks fall anywhere."""

from collections.abc import AsyncGenerator, AsyncIterator

MAX_EVENT_BYTES = 8 * 1024 * 1024
END_MARK = b"[DONE]"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    pass


async def sse_data(chunks: AsyncIterator[bytes]) -> AsyncGenerator[list[bytes]]:
    """The data of the events that each chunk completes, in order. Comments are passed over.

    Several data lines of an event are joined by a newline; CR, LF and CRLF end a line alike. What stands after the
    last blank line is no event, but for an end mark. Raises EventTooLarge above `MAX_EVENT_BYTES`.
    """
    unfinished: list[bytes] = []
    size, last, after_cr = 0, b"", False
    async for chunk in chunks:
        text = chunk
        if after_cr or b"\r" in chunk:
            text = _lines_ended_alike(chunk, after_cr)
            after_cr = (chunk or b"\r").endswith(b"\r")
        unfinished.append(text)
        size += len(text)
        if b"\n\n" in last + text:
            *blocks, rest = b"".join(unfinished).split(b"\n\n")
            unfinished, size = [rest], len(rest)
            if complete := [data for block in blocks if (data := _data_of(block)) is not None]:
                yield complete
        if size > MAX_EVENT_BYTES:
            raise EventTooLarge
        last = text[-1:] or last
    if _data_of(b"".join(unfinished).strip()) == END_MARK:
        yield [END_MARK]


def _lines_ended_alike(chunk: bytes, after_cr: bool) -> bytes:
    """An LF at its beginning may be the second half of a line end."""
    rest = chunk.removeprefix(b"\n") if after_cr else chunk
    return rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data_of(block: bytes) -> bytes | None:
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = block.removeprefix(BYTE_ORDER_MARK).split(b"\n")
    lines = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
