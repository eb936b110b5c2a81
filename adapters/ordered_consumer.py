"""A push consumer of our own: messages in stream order, none missing, until it is closed.

It acknowledges nothing and nothing of it is durable. The server numbers what it delivers and sends heartbeats; on a
gap, a reconnect, or three heartbeats of silence, the consumer is made anew behind the last message that was handed out.
Flow control is answered when the messages before it are taken, so a slow reader holds the server back.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from adapters.deliveries import Delivery, read_delivery
from adapters.jetstream_reads import MESSAGE_ID, StoredMessage

HEARTBEAT_S = 1.0
HEARTBEATS_MISSED = 3
REQUEST_S = 2.0
PAUSE_S = 0.1
SECOND_NS = 1_000_000_000
INACTIVE_NS = 30 * SECOND_NS

OUTAGES = (nats.errors.Error, OSError, TimeoutError)


class _Created(msgspec.Struct):
    num_pending: int = 0
    error: msgspec.Raw | None = None


class OrderedConsumer:
    """`position` is the last message handed out. With `start` None it begins with the latest message of each subject,
    in their order, and goes on with everything that follows.

    `caught_up` is true from the moment when there was nothing left to deliver. `last_heard` is when the server last
    said anything, on the monotonic clock.
    """

    def __init__(self, connection: Client, stream: str, *, start: int | None, subjects: Sequence[str] = ()) -> None:
        self.position = (start or 1) - 1
        self.caught_up = False
        self.last_heard = time.monotonic()
        self._connection = connection
        self._stream = stream
        self._subjects = list(subjects)
        self._latest_first = start is None
        self._arrived: deque[Msg] = deque()
        self._news = asyncio.Event()
        self._subscription: Subscription | None = None
        self._name = ""
        self._delivered = 0
        self._reconnects = 0

    async def take(self) -> list[StoredMessage]:
        """What has arrived; nothing after a second without a message."""
        if self._subscription is None and not await self._start():
            await asyncio.sleep(PAUSE_S)
            return []
        if not self._arrived:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._news.wait()
        taken: list[StoredMessage] = []
        if not await self._drain(taken) or self._is_lost():
            await self.close()
        return taken

    def _is_lost(self) -> bool:
        """After a reconnect it may be gone, or still deliver to nobody: making it anew is sooner than finding out."""
        silent_s = time.monotonic() - self.last_heard
        return silent_s > HEARTBEATS_MISSED * HEARTBEAT_S or self._connection.stats["reconnects"] != self._reconnects

    async def close(self) -> None:
        """The next `take` would start anew behind the last message."""
        subscription, self._subscription = self._subscription, None
        self._arrived.clear()
        if subscription is None:
            return
        with suppress(*OUTAGES):
            await subscription.unsubscribe()
            await self._connection.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}")

    async def _start(self) -> bool:
        if not self._connection.is_connected:
            return False
        self._reconnects = self._connection.stats["reconnects"]
        self._name = f"read-{self._connection.new_inbox().rpartition('.')[2]}"
        self._delivered = 0
        inbox = self._connection.new_inbox()
        request = {"stream_name": self._stream, "config": self._config(inbox)}
        subject = f"$JS.API.CONSUMER.CREATE.{self._stream}.{self._name}"
        try:
            self._subscription = await self._connection.subscribe(
                inbox, cb=self._receive, pending_msgs_limit=0, pending_bytes_limit=0
            )
            reply = await self._connection.request(subject, msgspec.json.encode(request), timeout=REQUEST_S)
        except OUTAGES:
            await self.close()
            return False
        created = msgspec.json.decode(reply.data, type=_Created)
        if created.error is not None:
            await self.close()
            return False
        self.last_heard = time.monotonic()
        self.caught_up = self.caught_up or created.num_pending == 0
        return True

    def _config(self, inbox: str) -> dict[str, Any]:
        if self._latest_first and not self.caught_up:
            place: dict[str, Any] = {"deliver_policy": "last_per_subject"}
        else:
            place = {"deliver_policy": "by_start_sequence", "opt_start_seq": self.position + 1}
        if self._subjects:
            place["filter_subjects"] = self._subjects
        return place | {
            "name": self._name,
            "deliver_subject": inbox,
            "ack_policy": "none",
            "max_deliver": 1,
            "flow_control": True,
            "idle_heartbeat": int(HEARTBEAT_S * SECOND_NS),
            "inactive_threshold": INACTIVE_NS,
            "mem_storage": True,
            "num_replicas": 1,
        }

    async def _receive(self, message: Msg) -> None:
        self.last_heard = time.monotonic()
        self._arrived.append(message)
        self._news.set()

    async def _drain(self, taken: list[StoredMessage]) -> bool:
        """Whether everything that was sent arrived, in order."""
        while self._arrived:
            message = self._arrived.popleft()
            if message.headers and "Status" in message.headers:
                if not await self._heed(message, message.headers):
                    return False
                continue
            delivery = read_delivery(message.reply)
            if delivery.number != self._delivered + 1:
                return False
            self._delivered = delivery.number
            self.position = delivery.position
            self.caught_up = self.caught_up or delivery.follow == 0
            taken.append(_stored(message, delivery))
        return True

    async def _heed(self, message: Msg, headers: dict[str, str]) -> bool:
        """Answer flow control; a heartbeat tells how much was sent."""
        answer_to = message.reply or headers.get("Nats-Consumer-Stalled", "")
        if answer_to:
            with suppress(*OUTAGES):
                await self._connection.publish(answer_to)
        return int(headers.get("Nats-Last-Consumer", self._delivered)) == self._delivered


def _stored(message: Msg, delivery: Delivery) -> StoredMessage:
    ident = message.headers.get(MESSAGE_ID, "") if message.headers else ""
    return StoredMessage(delivery.position, message.subject, message.data, delivery.stored_at, ident)
