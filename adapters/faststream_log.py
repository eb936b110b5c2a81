"""Streams read by FastStream subscribers that are made at run time, from any position on.

A pull consumer of its own for every feed, gone soon after it. Nothing about it is durable and nothing is acknowledged:
the position is in the database.

FastStream keeps the connection and the life of each subscriber. What it does for every message beside that, contexts,
middlewares, parsing, an answer, is of no use to a feed and costs more than all that is ours, and each of its messages
is a reference cycle: a subscriber hands what comes straight to the feed.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import datetime

import nats.errors
from faststream.nats import NatsBroker
from nats.js import JetStreamContext
from nats.js.api import AckPolicy as ConsumerAckPolicy
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from adapters.pulled_feed import BURST_MESSAGES, PulledFeed
from domain.errors import Unavailable

LAPSE_S = 60.0
"""The server forgets a consumer that nobody asks for so long."""
PENDING_MESSAGES = 4 * BURST_MESSAGES
PATIENCE_S = 10.0

OUTAGES = (nats.errors.Error, JetStreamError, OSError, TimeoutError)


class FastStreamLog:
    """The log as projections read it. Made by `open_log`."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker

    @asynccontextmanager
    async def open(self, stream: str, after: int) -> AsyncGenerator[PulledFeed]:
        connection = self._broker.config.connection_state.connection
        inbox = connection.new_inbox()
        name = f"feed-{inbox.rpartition('.')[2]}"
        feed = PulledFeed(connection, stream, name, inbox)
        subscriber = self._broker.subscriber(
            f"{inbox}.*", persistent=False, pending_msgs_limit=PENDING_MESSAGES, pending_bytes_limit=0
        )
        subscriber(feed.receive)
        subscriber.consume = feed.receive
        try:
            await subscriber.start()
            await self._jetstream.add_consumer(stream, config=_consumer(name, after))
            yield feed
        except OUTAGES as failure:
            raise Unavailable(f"The log cannot be read: {type(failure).__name__}") from failure
        finally:
            with suppress(*OUTAGES):
                await subscriber.stop()
                await connection.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{name}")

    async def last_position(self, stream: str) -> int:
        try:
            return (await self._jetstream.stream_info(stream)).state.last_seq
        except OUTAGES as failure:
            raise Unavailable(f"The log cannot be read: {type(failure).__name__}") from failure

    async def time_at(self, stream: str, position: int) -> datetime | None:
        try:
            return (await self._jetstream.get_msg(stream, seq=position)).time
        except NotFoundError:
            return None
        except OUTAGES as failure:
            raise Unavailable(f"The log cannot be read: {type(failure).__name__}") from failure

    @property
    def _jetstream(self) -> JetStreamContext:
        return self._broker.config.connection_state.stream


@asynccontextmanager
async def open_log(nats_servers: list[str]) -> AsyncGenerator[FastStreamLog]:
    """Connected, and connecting again for as long as it takes when the connection is lost. Raises Unavailable."""
    broker = NatsBroker(
        nats_servers,
        apply_types=False,
        logger=None,
        graceful_timeout=1.0,
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            await broker.start()
    except OUTAGES as failure:
        raise Unavailable(f"The log cannot be reached: {type(failure).__name__}") from failure
    try:
        yield FastStreamLog(broker)
    finally:
        with suppress(*OUTAGES):
            await broker.stop()


def _consumer(name: str, after: int) -> ConsumerConfig:
    return ConsumerConfig(
        name=name,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=after + 1,
        ack_policy=ConsumerAckPolicy.NONE,
        inactive_threshold=LAPSE_S,
        mem_storage=True,
        num_replicas=1,
    )
