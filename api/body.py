"""Read a request body from raw ASGI: bounded in size and in time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from api.in_time import in_time
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


class BodyTooDeep(InvalidInput):
    """JSON is read by recursion, and that has an end."""

    def __init__(self) -> None:
        super().__init__("The body is nested too deeply; flatten it.", code="invalid_json")


class ClientGone(Exception):
    """The client hung up before its request was whole: nobody is left to answer."""


def receive_in_time(receive: Receive, deadline_s: float = BODY_DEADLINE_S) -> Receive:
    """The same, but it raises BodyTooSlow. Once the body is whole there is no hurry: what comes then is a hang-up."""
    now_s = asyncio.get_running_loop().time
    give_up_s = now_s() + deadline_s
    whole = False

    async def bounded() -> Any:
        nonlocal whole
        if whole:
            return await receive()
        try:
            message = await in_time(receive(), give_up_s - now_s())
        except TimeoutError:
            raise BodyTooSlow from None
        whole = not message.get("more_body")
        return message

    return bounded


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], deadline_s: float = BODY_DEADLINE_S) -> bytes:
    """The whole body. Raises BodyTooLarge before it reads what a header announces, BodyTooSlow, or ClientGone."""
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise BodyTooLarge
    try:
        return await in_time(_whole(receive), deadline_s)
    except TimeoutError:
        raise BodyTooSlow from None


async def _whole(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
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
