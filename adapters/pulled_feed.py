"""A stream read in bursts: one request brings all that waits, up to what a transaction should hold.

Nothing is sent unasked, so a reader that takes its time holds the log back, and what arrives within a reader's pause
costs it and the server one request, not a delivery for each message. When nothing waits, a request that lingers brings
the next message at once. One request is under way at a time; after a burst that was cut short the next is asked for
ahead, while its reader works. Of a burst that takes longer than its reader waits, what has come is handed out and the
rest follows: a slow way from the log costs time and nothing is fetched twice. A request that is not answered in time
breaks the feed.
"""

import asyncio
from collections import deque
from contextlib import suppress
from time import monotonic

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from adapters.deliveries import read_delivery
from domain.ports import FeedBroken, LogMessage

BURST_BYTES = 6 * 2**20
BURST_MESSAGES = 1024
LINGER_S = 2.0
ANSWER_S = 5.0
"""How long a burst may be silent, and how late an answer to a lingering request may come."""
SECOND_NS = 1_000_000_000
NOTHING_MORE, TIME_IS_UP, BURST_IS_CUT = "404", "408", "409"


class _Ask(msgspec.Struct, frozen=True, omit_defaults=True):
    """For at most `batch` messages; `expires` in nanoseconds."""

    batch: int
    max_bytes: int = 0
    no_wait: bool = False
    expires: int = 0


BURST = _Ask(BURST_MESSAGES, max_bytes=BURST_BYTES, no_wait=True)
NEXT = _Ask(1, expires=int(LINGER_S * SECOND_NS))


class PulledFeed:
    """Of the pull consumer `consumer`. `receive` must get every message that comes to `inbox` or below it."""

    def __init__(self, connection: Client, stream: str, consumer: str, inbox: str) -> None:
        self._connection = connection
        self._stream = stream
        self._requests = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = inbox
        self._received: deque[Msg] = deque()
        self._asked: _Ask | None = None
        self._asks = 0
        self._missing = 0
        self._patient_until = 0.0
        self._answered = asyncio.Event()
        self._broken = ""

    @property
    def waiting(self) -> bool:
        """Whether there was more than the last burst could hold."""
        return self._asked is BURST or bool(self._received)

    async def take(self, timeout_s: float) -> list[LogMessage]:
        until = monotonic() + timeout_s
        if self._asked is None and not self._received and not self._broken:
            await self._ask(BURST)
        while await self._answer(until):
            if self._received or monotonic() >= until:
                break
            await self._ask(NEXT)
        return await self._hand_out()

    async def receive(self, msg: Msg) -> None:
        """A message of the stream, or what became of a request."""
        if msg.headers and (status := msg.headers.get("Status")):
            if msg.subject == self._reply:
                self._end(status, msg.headers.get("Description", ""))
            return
        self._received.append(msg)
        self._missing -= 1
        if self._missing == 0:
            self._end()
        elif self._asked:
            self._patient_until = monotonic() + ANSWER_S

    @property
    def _reply(self) -> str:
        return f"{self._inbox}.{self._asks}"

    async def _ask(self, ask: _Ask) -> None:
        self._asked = ask
        self._asks += 1
        self._missing = ask.batch
        self._patient_until = monotonic() + ask.expires / SECOND_NS + ANSWER_S
        self._answered.clear()
        await self._connection.publish(self._requests, msgspec.json.encode(ask), reply=self._reply)

    def _end(self, status: str = "", words: str = "") -> None:
        nothing_came = self._asked is not None and self._missing == self._asked.batch
        if status not in {"", NOTHING_MORE, TIME_IS_UP, BURST_IS_CUT} or (status == BURST_IS_CUT and nothing_came):
            self._broken = f"the log ended a feed: {status} {words}"
        self._asked = None
        self._answered.set()

    async def _answer(self, until: float) -> bool:
        """False when the request is still under way at `until`. Raises FeedBroken."""
        while self._asked is not None:
            now = monotonic()
            if now >= self._patient_until:
                raise FeedBroken("the log does not answer")
            if now >= until:
                return False
            with suppress(TimeoutError):
                async with asyncio.timeout(min(until, self._patient_until) - now):
                    await self._answered.wait()
        if self._broken:
            raise FeedBroken(self._broken)
        return True

    async def _hand_out(self) -> list[LogMessage]:
        messages = [self._stored(message) for message in self._received]
        self._received.clear()
        if messages and messages[-1].behind and self._asked is None:
            await self._ask(BURST)
        return messages

    def _stored(self, message: Msg) -> LogMessage:
        try:
            delivery = read_delivery(message.reply)
        except ValueError as strange:
            raise FeedBroken(str(strange)) from strange
        if delivery.stream != self._stream:
            raise FeedBroken(f"a message of {delivery.stream} in a feed of {self._stream}")
        return LogMessage(
            self._stream, delivery.position, message.subject, delivery.stored_at, message.data, delivery.follow
        )
