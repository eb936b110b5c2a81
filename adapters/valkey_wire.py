"""One connection to Valkey: commands out, their replies in, in one callback a packet.

redis-py connects (TLS, AUTH, SELECT). Then its transport is ours: its streams and its reader cost several times as much
CPU for each reply.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import HiredisError, PushNotification, Reader
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as NotConnected

MORE = object()
"""What the reader says when a reply is not whole yet."""


class Wire(asyncio.Protocol):
    """`heard` is told all replies to what was asked, in its order; a refusal among them is a hiredis.ReplyError.
    `lost` is told once, and nothing after it, when the connection ends by itself or says what nobody asked for."""

    def __init__(
        self, transport: asyncio.WriteTransport, heard: Callable[[list[Any]], None], lost: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._heard = heard
        self._lost = lost
        self._reader = Reader(notEnoughData=MORE)
        self._asked = 0
        self._replies: list[Any] = []
        self._is_over = False

    def ask(self, commands: Sequence[bytes]) -> None:
        """Packed ones. Not before the replies to the last ones were heard."""
        self._asked = len(commands)
        self._transport.write(b"".join(commands))

    def abort(self) -> None:
        """Whatever still comes is not heard."""
        self._is_over = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        replies, next_reply = self._replies, self._reader.gets
        try:
            self._reader.feed(data)
            while (reply := next_reply()) is not MORE:
                if type(reply) is not PushNotification:
                    replies.append(reply)
        except HiredisError:
            self._end()
            return
        if len(replies) > self._asked:
            self._end()
        elif replies and len(replies) == self._asked:
            self._asked, self._replies = 0, []
            self._heard(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_over:
            self._end()

    def _end(self) -> None:
        self.abort()
        self._lost()


async def open_wire(
    connection: AbstractConnection, heard: Callable[[list[Any]], None], lost: Callable[[], None]
) -> Wire:
    """Anew, whatever the connection was before. Raises RedisError and OSError."""
    await connection.disconnect(nowait=True)
    await connection.connect()
    if await connection.can_read():
        raise NotConnected("it said something that nobody asked for")
    assert connection._writer is not None, "redis-py gives its transport away nowhere else"
    transport = connection._writer.transport
    wire = Wire(transport, heard, lost)
    transport.set_protocol(wire)
    return wire
