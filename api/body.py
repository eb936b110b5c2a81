"""Read a request body from raw ASGI: bounded in size and in time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from domain.errors import InvalidInput

MAX_BODY_BYTES = 20 * 1024 * 1024
BODY_DEADLINE_S = 30.0

Receive = Callable[[], Awaitable[Any]]


class BodyTooLarge(InvalidInput):
    def __init__(self) -> None:
        super().__init__(f"The body is larger than {MAX_BODY_BYTES // 1024 // 1024} MiB.", code="body_too_large")


class BodyTooSlow(InvalidInput):
    def __init__(self) -> None:
        super().__init__(f"The body did not arrive within {BODY_DEADLINE_S:.0f} seconds.", code="body_too_slow")


class ClientGone(Exception):
    """The client hung up before its request was whole: nobody is left to answer."""


async def read_body(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
    """The whole body. Raises BodyTooLarge before it reads what a header announces, BodyTooSlow, or ClientGone."""
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise BodyTooLarge
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                parts.append(message["body"])
                size += len(parts[-1])
                if size > MAX_BODY_BYTES:
                    raise BodyTooLarge
                if not message.get("more_body"):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
    except TimeoutError:
        raise BodyTooSlow from None
