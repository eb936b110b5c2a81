"""A request body arrives whole, in time and within bounds, or not at all."""

import asyncio
from typing import Any

import pytest

from api.body import MAX_BODY_BYTES, BodyTooLarge, BodyTooSlow, ClientGone, Receive, read_body, receive_in_time
from api.errors import failure_of


def arriving(*messages: dict[str, Any]) -> Receive:
    """These, and then nothing for ever."""
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        for message in waiting:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    return receive


def part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_in_pieces_is_put_together() -> None:
    assert await read_body(arriving(part(b"ab", more=True), part(b"", more=True), part(b"c", more=False)), {}) == b"abc"


async def test_a_body_that_does_not_come_whole_in_time_is_a_408() -> None:
    with pytest.raises(BodyTooSlow) as refusal:
        await read_body(arriving(part(b"ab", more=True)), {}, deadline_s=0.01)

    assert failure_of(refusal.value).kind.status == 408


async def test_what_is_announced_too_large_is_not_read() -> None:
    with pytest.raises(BodyTooLarge) as refusal:
        await read_body(arriving(), {b"content-length": str(MAX_BODY_BYTES + 1).encode()})

    assert failure_of(refusal.value).kind.status == 413


async def test_what_becomes_too_large_is_left() -> None:
    half = part(bytes(MAX_BODY_BYTES // 2 + 1), more=True)

    with pytest.raises(BodyTooLarge):
        await read_body(arriving(half, half), {})


async def test_a_client_that_hangs_up_is_not_answered() -> None:
    with pytest.raises(ClientGone):
        await read_body(arriving(part(b"ab", more=True), {"type": "http.disconnect"}), {})


async def test_a_hang_up_after_the_whole_body_is_waited_for_without_a_deadline() -> None:
    receive = receive_in_time(arriving(part(b"", more=False)), deadline_s=0.01)
    await receive()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(receive(), 0.05)
