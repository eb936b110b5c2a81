"""Server-sent events out of a byte stream whose chunks fall anywhere."""

from collections.abc import AsyncGenerator, AsyncIterator

MAX_EVENT_BYTES = 8 * 1024 * 1024
END_MARK = b"[DONE]"


class EventTooLarge(Exception):
    pass


async def sse_data(chunks: AsyncIterator[bytes]) -> AsyncGenerator[list[bytes]]:
    """The data of the events that each chunk completes, in order. Comments are passed over.

    Several data lines of an event are joined by a newline. What stands after the last blank line is no event, but
    for an end mark. Raises EventTooLarge above `MAX_EVENT_BYTES`.
    """
    buffer = b""
    async for chunk in chunks:
        buffer += chunk
        if b"\r" in buffer:
            buffer = buffer.replace(b"\r\n", b"\n")
        *blocks, buffer = buffer.split(b"\n\n")
        if complete := [data for block in blocks if (data := _data_of(block)) is not None]:
            yield complete
        if len(buffer) > MAX_EVENT_BYTES:
            raise EventTooLarge
    if _data_of(buffer.strip()) == END_MARK:
        yield [END_MARK]


def _data_of(block: bytes) -> bytes | None:
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
