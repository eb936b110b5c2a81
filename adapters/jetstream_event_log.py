"""The facts of aggregates in a JetStream stream: one literal subject per aggregate, read from the leader."""

from collections.abc import Sequence

from nats.aio.client import Client

from adapters.guarded_writes import DEADLINE_S, GuardedEvents, GuardedWriter
from adapters.jetstream_reads import StoredMessage, last_of_subject, read_range
from domain.aggregate import Address
from domain.events import decode_envelope
from domain.ports import Append, Recorded

STREAM = "EVT"


class JetStreamEventLog:
    def __init__(self, connection: Client, *, stream: str = STREAM, deadline_s: float = DEADLINE_S) -> None:
        self._connection = connection
        self._stream = stream
        self._writer = GuardedWriter(connection, stream, deadline_s=deadline_s)

    async def last(self, address: Address) -> Recorded | None:
        message = await last_of_subject(self._connection, self._stream, address.subject)
        return _recorded(message) if message else None

    async def history(self, address: Address, after: int = 0) -> list[Recorded]:
        last = await last_of_subject(self._connection, self._stream, address.subject)
        if last is None or last.sequence <= after:
            return []
        messages = read_range(
            self._connection, self._stream, subject=address.subject, start=after + 1, until=last.sequence
        )
        return [_recorded(message) async for message in messages]

    async def append(self, appends: Sequence[Append]) -> list[int]:
        if not appends:
            return []
        return await self._writer.write(
            [GuardedEvents(append.address.subject, append.expected, append.events) for append in appends]
        )


def _recorded(message: StoredMessage) -> Recorded:
    return Recorded(decode_envelope(message.raw), message.sequence, message.raw)
