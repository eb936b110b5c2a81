"""Frees claimed keys, later if the log does not answer now: a refusal because of an outage must not block its key.

What is erased is one message, known by its sequence or by its id: never another claim of the same key, and never an
answer. An erased message is gone for good, so erasing it again is harmless.
"""

import asyncio
import os
from collections import OrderedDict
from contextlib import suppress

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client

from adapters.guarded_writes import GuardedEvents, GuardedWriter
from adapters.jetstream_reads import last_of_subject, message_at
from domain.errors import ConcurrentWrite, Unavailable

ATTEMPT_S = 1.0
PAUSE_S = 0.25
MAX_OWED = 10_000
CLOSE_DEADLINE_S = 2.0

_log = structlog.get_logger(__name__)


class DoubtfulClaim(msgspec.Struct, frozen=True):
    """Sent, and perhaps written: its subject, id and bytes."""

    subject: str
    ident: str
    raw: bytes


class _Deleted(msgspec.Struct):
    success: bool = False


class ClaimReleases:
    def __init__(self, connection: Client, stream: str, writer: GuardedWriter) -> None:
        self._connection = connection
        self._stream = stream
        self._writer = writer
        self._owed: OrderedDict[DoubtfulClaim | int, None] = OrderedDict()
        self._settling: asyncio.Task[None] | None = None

    @property
    def owed(self) -> int:
        """Claims that are still to be freed."""
        return len(self._owed)

    async def release(self, sequence: int) -> None:
        """At once if the log answers; else as soon as it does."""
        with suppress(Unavailable):
            if await self._erase(sequence):
                return
        self._owe(sequence)

    def release_doubtful(self, claim: DoubtfulClaim) -> None:
        """As soon as the log answers, if it was written at all."""
        self._owe(claim)

    async def close(self, deadline_s: float = CLOSE_DEADLINE_S) -> None:
        if self._settling:
            await asyncio.wait([self._settling], timeout=deadline_s)
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)
        if self._owed:
            _log.warning("idempotency keys stay claimed", claims=len(self._owed))

    def _owe(self, owed: DoubtfulClaim | int) -> None:
        self._owed[owed] = None
        if len(self._owed) > MAX_OWED:
            self._owed.popitem(last=False)
            _log.warning("an idempotency key stays claimed: too many wait to be freed")
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        while self._owed:
            owed = next(iter(self._owed))
            if await self._is_settled(owed):
                self._owed.pop(owed, None)
            else:
                await asyncio.sleep(PAUSE_S)

    async def _is_settled(self, owed: DoubtfulClaim | int) -> bool:
        with suppress(Unavailable):
            sequence = owed if isinstance(owed, int) else await self._find(owed)
            return not sequence or await self._erase(sequence)
        return False

    async def _find(self, claim: DoubtfulClaim) -> int:
        """The sequence to erase; 0 when there is nothing of it, nor will be.

        A look could come before a claim that is still on its way. So it is made once more: the log takes writes in
        turn, and with this one there, the one before it was refused or never came.
        """
        ident = f"{claim.ident}/{os.urandom(8).hex()}"
        try:
            (sequence,) = await self._writer.write([GuardedEvents(claim.subject, 0, [(ident, claim.raw)])])
        except ConcurrentWrite:
            found = await last_of_subject(self._connection, self._stream, claim.subject, ATTEMPT_S)
            return found.sequence if found and found.ident.startswith(claim.ident) else 0
        return sequence

    async def _erase(self, sequence: int) -> bool:
        """Whether it is gone. The server refuses to erase what is not there with a code of many meanings: look."""
        if not self._connection.is_connected:
            return False
        subject = f"$JS.API.STREAM.MSG.DELETE.{self._stream}"
        query = msgspec.json.encode({"seq": sequence, "no_erase": True})
        try:
            reply = await self._connection.request(subject, query, timeout=ATTEMPT_S)
        except (nats.errors.Error, OSError, TimeoutError):
            return False
        if msgspec.json.decode(reply.data, type=_Deleted).success:
            return True
        return await message_at(self._connection, self._stream, sequence, ATTEMPT_S) is None
