"""How far the streams go, asked through an ordinary connection."""

from datetime import datetime

from nats.aio.client import Client

from adapters.jetstream_reads import last_sequence, message_at


class JetStreamLogEnds:
    def __init__(self, connection: Client) -> None:
        self._connection = connection

    async def last_position(self, stream: str) -> int:
        return await last_sequence(self._connection, stream)

    async def time_at(self, stream: str, position: int) -> datetime | None:
        message = await message_at(self._connection, stream, position)
        return message.time if message else None
