"""One message at a time into a stream, repeated with the same bytes and id until it is acknowledged."""

import asyncio

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from adapters.jetstream_reads import MESSAGE_ID
from adapters.nats_connection import leave_server

CONTENT_TYPE = "application/cloudevents-batch+json"
ATTEMPT_S = 2.0
PAUSE_S = 0.05
HEADER_ROOM = 1_024
PATIENCE = 3
"""Failed attempts on a connection that looks well, before another server is tried."""

_log = structlog.get_logger(__name__)


class _Refusal(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    error: _Refusal | None = None


NOT_CONNECTED = _Refusal(description="not connected")

_decode = msgspec.json.Decoder(_Ack).decode


class BatchPublisher:
    """Its own inbox costs a quarter of a request each time; an acknowledgement of any attempt ends the waiting."""

    def __init__(self, connection: Client, subject: str, *, attempt_s: float = ATTEMPT_S) -> None:
        self._connection = connection
        self._attempt_s = attempt_s
        self._subject = subject
        self._inbox = connection.new_inbox()
        self._number = 0
        self._ack: asyncio.Future[_Ack] | None = None
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        self._subscription = await self._connection.subscribe(f"{self._inbox}.*", cb=self._answered)

    async def close(self) -> None:
        if self._subscription is not None and not self._connection.is_closed:
            await self._subscription.unsubscribe()

    @property
    def max_bytes(self) -> int:
        return self._connection.max_payload - HEADER_ROOM

    async def publish(self, body: bytes, message_id: str) -> int:
        """The sequence of the message. Returns only when it is stored, however long that takes."""
        self._number += 1
        headers = {MESSAGE_ID: message_id, "content-type": CONTENT_TYPE}
        failures = 0
        while True:
            ack = await self._attempt(body, headers) if self._connection.is_connected else _Ack(error=NOT_CONNECTED)
            if ack.error is None:
                return ack.seq
            if ack.error is not NOT_CONNECTED:
                failures += 1
                _report(failures, ack.error)
                if failures % PATIENCE == 0:
                    await leave_server(self._connection)
            await asyncio.sleep(PAUSE_S)

    async def _attempt(self, body: bytes, headers: dict[str, str]) -> _Ack:
        ack = self._ack = asyncio.get_running_loop().create_future()
        try:
            await self._connection.publish(self._subject, body, f"{self._inbox}.{self._number}", headers)
            return await asyncio.wait_for(ack, self._attempt_s)
        except (nats.errors.Error, OSError, TimeoutError) as failure:
            return _Ack(error=_Refusal(description=type(failure).__name__))

    async def _answered(self, message: Msg) -> None:
        if self._ack is None or self._ack.done() or message.subject != f"{self._inbox}.{self._number}":
            return
        if message.data:
            self._ack.set_result(_decode(message.data))
        else:
            self._ack.set_result(_Ack(error=_Refusal(description="no stream listens")))


def _report(failures: int, refusal: _Refusal) -> None:
    if failures == 1 or failures % 20 == 0:
        _log.warning("request events wait for the log", attempts=failures, reason=refusal.description)
