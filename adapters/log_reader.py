"""Reading a stream from one end to the other, and following what is latest in it."""

from collections.abc import AsyncGenerator, Sequence

import msgspec
from nats.aio.client import Client

from adapters.jetstream_reads import StoredMessage, last_of_subject, last_sequence
from adapters.ordered_consumer import OrderedConsumer


async def read_stream(
    connection: Client,
    stream: str,
    *,
    start: int = 1,
    subject: str | None = None,
    until: int | None = None,
    follow: bool = False,
) -> AsyncGenerator[StoredMessage]:
    """In order, from `start` to `until` or to what was last when asked; with `follow`, for ever.

    Outages only delay it, once it has begun. Raises Unavailable when the log cannot be reached at the beginning.
    """
    last = await _last(connection, stream, subject)
    end = last if until is None else min(last, until)
    if start > end and not follow:
        return
    consumer = OrderedConsumer(connection, stream, start=start, subjects=[subject] if subject else ())
    try:
        while follow or consumer.position < end:
            messages = await consumer.take()
            for message in messages:
                if not follow and message.sequence > end:
                    return
                yield message
            if not messages and consumer.caught_up and not follow:
                return  # what was last has been deleted since
    finally:
        await consumer.close()


class CaughtUp(msgspec.Struct, frozen=True):
    """Everything up to `position` has been told; what follows is news."""

    position: int


class LatestTail:
    """The latest message of each subject, a mark, then every message as it comes, for ever.

    An outage before the mark begins again with the latest messages; after it, nothing is told twice. `last_heard`
    (monotonic clock) moves on at every heartbeat, about once a second: when it stands still, what we know is stale.
    """

    def __init__(self, connection: Client, stream: str, subjects: Sequence[str]) -> None:
        self._consumer = OrderedConsumer(connection, stream, start=None, subjects=subjects)

    @property
    def last_heard(self) -> float:
        return self._consumer.last_heard

    async def messages(self) -> AsyncGenerator[StoredMessage | CaughtUp]:
        told = False
        try:
            while True:
                for message in await self._consumer.take():
                    yield message
                if self._consumer.caught_up and not told:
                    told = True
                    yield CaughtUp(self._consumer.position)
        finally:
            await self._consumer.close()


def tail_latest(connection: Client, stream: str, subjects: Sequence[str]) -> LatestTail:
    return LatestTail(connection, stream, subjects)


async def _last(connection: Client, stream: str, subject: str | None) -> int:
    if subject is None:
        return await last_sequence(connection, stream)
    last = await last_of_subject(connection, stream, subject)
    return last.sequence if last else 0
