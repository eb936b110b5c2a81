"""One message at a time into a stream, repeated with the same bytes and id until it is acknowledged."""

import asyncio

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client

from adapters.jetstream_reads import MESSAGE_ID
from adapters.nats_connection import leave_server

CONTENT_TYPE = "application/cloudevents-batch+json"
ATTEMPT_S = 1.0
PAUSE_S = 0.05
HEADER_ROOM = 1_024
PATIENCE = 5
"""Attempts' worth of time that a connected server may fail, before another one is tried. Elections take as long, and
are answered at once with "nobody listens": counting such answers would mean to reconnect twenty times a second."""

_log = structlog.get_logger(__name__)


class _Refusal(msgspec.Struct):
    description: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    error: _Refusal | None = None


NOT_CONNECTED = _Ack(error=_Refusal("not connected"))

_decode = msgspec.json.Decoder(_Ack).decode


class BatchPublisher:
    def __init__(self, connection: Client, subject: str, *, attempt_s: float = ATTEMPT_S) -> None:
        self._connection = connection
        self._subject = subject
        self._attempt_s = attempt_s

    @property
    def max_bytes(self) -> int:
        return self._connection.max_payload - HEADER_ROOM

    async def publish(self, body: bytes, message_id: str) -> int:
        """The sequence of the message. Returns only when it is stored, however long that takes."""
        headers = {MESSAGE_ID: message_id, "content-type": CONTENT_TYPE}
        now = asyncio.get_running_loop().time
        failures, leave_at = 0, now() + PATIENCE * self._attempt_s
        while True:
            ack = await self._attempt(body, headers) if self._connection.is_connected else NOT_CONNECTED
            if ack.error is None:
                return ack.seq
            if ack is not NOT_CONNECTED:
                failures += 1
                _report(failures, ack.error)
            if now() > leave_at:
                await leave_server(self._connection)
                leave_at = now() + PATIENCE * self._attempt_s
            await asyncio.sleep(PAUSE_S)

    async def _attempt(self, body: bytes, headers: dict[str, str]) -> _Ack:
        try:
            answer = await self._connection.request(self._subject, body, timeout=self._attempt_s, headers=headers)
        except (nats.errors.Error, OSError, TimeoutError) as failure:
            return _Ack(error=_Refusal(type(failure).__name__))
        return _decode(answer.data)


def _report(failures: int, refusal: _Refusal) -> None:
    if failures == 1 or failures % 20 == 0:
        _log.warning("request events wait for the log", attempts=failures, reason=refusal.description)
