"""Streams read by FastStream subscribers that are made at run time, from any position on.

A push consumer of its own for every feed, gone with its subscription. Nothing about it is durable: the position is in
the database. It acknowledges all the same, after each commit and everything up to there in one message, because
that is what holds the server back: no more than a window of messages is under way. (nats-py answers flow control
before a callback has run, so that alone would let a slow reader drown, and then drop messages.)
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any

import nats.errors
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy as ConsumerAckPolicy
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from domain.errors import Unavailable
from domain.ports import FeedBroken, LogMessage

WINDOWS = {"EVT": 4096, "REQ": 512, "TMR": 4096}
"""Messages on their way to one feed: two transactions' worth. A message of REQ holds many events."""
TRANSACTION_BYTES = 12 * 2**20
TRANSACTION_MESSAGES = 2048
ACK_WAIT_S = 24 * 3600
LAPSE_S = 10.0
"""The server forgets a consumer that nobody listens to after so long."""
STREAM_SUBJECTS = {"EVT": "evt.>", "REQ": "req.>", "TMR": "tmr.>"}
PATIENCE_S = 10.0
ALL_UP_TO_HERE = b"+ACK"

OUTAGES = (nats.errors.Error, JetStreamError, OSError, TimeoutError)


class FastStreamLog:
    """The log as projections read it. Made by `open_log`."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker

    @asynccontextmanager
    async def open(self, stream: str, after: int) -> AsyncGenerator["PushFeed"]:
        feed = PushFeed(self._broker, stream)
        subscriber = self._broker.subscriber(
            STREAM_SUBJECTS[stream],
            stream=JStream(stream, declare=False),
            config=_consumer(stream, after),
            ack_policy=AckPolicy.MANUAL,
            decoder=_whole,
            persistent=False,
            pending_msgs_limit=2 * WINDOWS[stream],
            pending_bytes_limit=0,
        )
        subscriber(feed.receive)
        try:
            await subscriber.start()
            yield feed
        except OUTAGES as failure:
            raise Unavailable(f"The log cannot be read: {type(failure).__name__}") from failure
        finally:
            with suppress(*OUTAGES):
                await subscriber.stop()

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


class PushFeed:
    """What the subscriber received and nobody took yet: bounded by the consumer's window."""

    def __init__(self, broker: NatsBroker, stream: str) -> None:
        self._broker = broker
        self._stream = stream
        self._received: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._receipts: deque[tuple[int, str]] = deque()

    async def receive(self, message: Any) -> None:
        self._received.append(message.raw_message)
        self._arrived.set()

    @property
    def waiting(self) -> bool:
        return bool(self._received)

    async def take(self, timeout_s: float) -> list[LogMessage]:
        if not self._received:
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._arrived.wait()
        messages: list[LogMessage] = []
        size = 0
        while self._received:
            message = self._received.popleft()
            size += len(message.data)
            messages.append(self._stored(message))
            if not self._received or size >= TRANSACTION_BYTES or len(messages) == TRANSACTION_MESSAGES:
                self._receipts.append((messages[-1].position, message.reply))
                break
        return messages

    def _stored(self, message: Msg) -> LogMessage:
        about = message.metadata
        if about.stream != self._stream:
            raise FeedBroken(f"a message of {about.stream} in a feed of {self._stream}")
        return LogMessage(
            self._stream, about.sequence.stream, message.subject, about.timestamp, message.data, about.num_pending
        )

    async def done(self, position: int) -> None:
        receipt = ""
        while self._receipts and self._receipts[0][0] <= position:
            _, receipt = self._receipts.popleft()
        if receipt:
            with suppress(*OUTAGES):
                await self._broker.config.connection_state.connection.publish(receipt, ALL_UP_TO_HERE)


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


def _consumer(stream: str, after: int) -> ConsumerConfig:
    return ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=after + 1,
        ack_policy=ConsumerAckPolicy.ALL,
        ack_wait=ACK_WAIT_S,
        max_ack_pending=WINDOWS[stream],
        inactive_threshold=LAPSE_S,
        mem_storage=True,
        num_replicas=1,
        filter_subjects=[],
    )


async def _whole(message: Any) -> Any:
    return message
