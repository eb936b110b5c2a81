"""Idempotency keys in the log: the stream IDEM, in which a subject is one key of one account at one route.

`idem.<place>` holds one message: the claim, and then the answer, which replaces it. A claim is written under the guard
that the subject is empty, an answer under the guard that its claim is the last message there: of any number of writers
on any number of servers one succeeds, and a late one never undoes what came after. What does not fit into one message
is on subjects below it before the claim is replaced. The stream forgets a message after a day.
"""

import asyncio
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeAlias

import msgspec
import structlog
from nats.aio.client import Client

from adapters.answer_chunks import AnswerChunks
from adapters.claim_releases import ClaimReleases, DoubtfulClaim
from adapters.guarded_writes import GuardedEvents, GuardedWriter
from adapters.jetstream_reads import StoredMessage, last_of_subject
from adapters.kept_answers import AnswerSeal
from adapters.sealing import SealBroken
from domain.errors import Busy, ConcurrentWrite, OutcomeUnknown, Unavailable
from domain.idempotency import (
    LONGEST_ANSWER_BYTES,
    AnswerTooLarge,
    Claim,
    CompleteAnswer,
    Fingerprint,
    IdempotencyKey,
    KeptAnswer,
    Lost,
    Mismatch,
    Outcome,
    Replay,
    RequestEnds,
    Running,
    Unreplayable,
    Won,
)
from domain.ids import RequestId

STREAM = "IDEM"
DEADLINE_S = 5.0
ROUNDS = 5
"""A key that is released whenever it is lost again is given up after so many."""
LOST_AFTER_S = 60.0
OFFLOADED_BYTES = 64 * 1024
"""What is larger is packed in a thread: the loop has others to serve."""

_log = structlog.get_logger(__name__)


class _Head(msgspec.Struct, frozen=True, kw_only=True, tag_field="state"):
    """`fingerprint` is keyed."""

    request_id: RequestId
    fingerprint: str
    worker: str


class _Claimed(_Head, frozen=True, kw_only=True, tag="claimed"):
    pass


class _Answered(_Head, frozen=True, kw_only=True, tag="answered"):
    """`sealed` goes on in so many `chunks`."""

    sealed: bytes
    chunks: int = 0


class _TooLarge(_Head, frozen=True, kw_only=True, tag="answered_too_large"):
    pass


_AnyHead: TypeAlias = _Claimed | _Answered | _TooLarge
_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(_AnyHead).decode


class JetStreamIdempotencyStore:
    """`secret` is 32 bytes derived from the master key; `worker` names this process.

    A request that ended more than `lost_after_s` ago and left no answer will leave none any more.
    """

    def __init__(
        self,
        connection: Client,
        secret: bytes,
        worker: str,
        ends: RequestEnds,
        clock: Callable[[], datetime],
        *,
        lost_after_s: float = LOST_AFTER_S,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._connection = connection
        self._worker = worker
        self._ends = ends
        self._clock = clock
        self._lost_after = timedelta(seconds=lost_after_s)
        self._deadline_s = deadline_s
        self._seal = AnswerSeal(secret)
        self._writer = GuardedWriter(connection, STREAM, deadline_s=deadline_s)
        self._chunks = AnswerChunks(connection, STREAM, self._writer)
        self._releases = ClaimReleases(connection, STREAM, self._writer)

    @property
    def owed_releases(self) -> int:
        """Claims that will be freed once the log answers."""
        return self._releases.owed

    async def close(self) -> None:
        await self._releases.close()

    async def begin(
        self, scope: str, route: str, key: IdempotencyKey, fingerprint: Fingerprint, request_id: RequestId
    ) -> Outcome:
        place = self._seal.place(scope, route, key)
        wanted = Claim(
            scope=scope,
            place=place,
            revision=0,
            fingerprint=self._seal.keyed(place, fingerprint),
            request_id=request_id,
            worker=self._worker,
            since=self._clock(),
        )
        for _ in range(ROUNDS):
            if revision := await self._try_claim(wanted):
                return Won(msgspec.structs.replace(wanted, revision=revision))
            if found := await last_of_subject(self._connection, STREAM, _subject(place), self._deadline_s):
                return await self._outcome(found, wanted)
        raise Busy("This Idempotency-Key is claimed and released in quick succession; try again.")

    async def complete(self, claim: Claim, answer: CompleteAnswer) -> None:
        if isinstance(answer, AnswerTooLarge) or len(answer.body) > LONGEST_ANSWER_BYTES:
            head = _TooLarge(request_id=claim.request_id, fingerprint=claim.fingerprint, worker=claim.worker)
        else:
            head = await self._stored(claim, answer)
        subject = _subject(claim.place)
        await self._write(subject, claim.revision, f"{subject}/{claim.revision}", _encode(head))

    async def release(self, claim: Claim) -> None:
        await self._releases.release(claim.revision)

    async def _try_claim(self, wanted: Claim) -> int:
        """Its sequence; 0 when the key is taken.

        The id is new for every attempt: a server that remembers one says `duplicate` and writes nothing.
        """
        subject = _subject(wanted.place)
        ident = f"{subject}/{os.urandom(8).hex()}"
        raw = _encode(_Claimed(request_id=wanted.request_id, fingerprint=wanted.fingerprint, worker=wanted.worker))
        try:
            return await self._write(subject, 0, ident, raw)
        except ConcurrentWrite:
            return 0
        except (OutcomeUnknown, asyncio.CancelledError):
            self._releases.release_doubtful(DoubtfulClaim(subject, ident, raw))
            raise

    async def _write(self, subject: str, expected: int, ident: str, raw: bytes) -> int:
        (position,) = await self._writer.write([GuardedEvents(subject, expected, [(ident, raw)])])
        return position

    async def _outcome(self, found: StoredMessage, asked: Claim) -> Outcome:
        try:
            head = _decode(found.raw)
        except msgspec.DecodeError:
            raise Unavailable("What is recorded under this Idempotency-Key cannot be read.") from None
        if head.fingerprint != asked.fingerprint:
            return Mismatch(head.request_id)
        holder = msgspec.structs.replace(
            asked, revision=found.sequence, request_id=head.request_id, worker=head.worker, since=found.time
        )
        if isinstance(head, _Answered):
            return await self._replay(holder, head)
        if isinstance(head, _TooLarge):
            return Unreplayable(head.request_id, "too_large")
        return Lost(holder) if await self._is_lost(holder) else Running(holder.request_id, holder.since)

    async def _is_lost(self, claim: Claim) -> bool:
        """An answer is recorded shortly after its request's end; one that has just ended may still bring it."""
        bound = self._clock() - self._lost_after
        if claim.since > bound:
            return False
        try:
            ended_at = await self._ends.ended_at(claim)
        except Unavailable:
            return False
        return ended_at is not None and ended_at <= bound

    async def _stored(self, claim: Claim, answer: KeptAnswer) -> _Answered:
        """Sealed; what one message does not hold is in the stream already."""
        seal = self._seal.seal
        large = len(answer.body) > OFFLOADED_BYTES
        sealed = await asyncio.to_thread(seal, claim, answer) if large else seal(claim, answer)
        first, more = await self._chunks.write(_subject(claim.place), sealed)
        return _Answered(
            request_id=claim.request_id,
            fingerprint=claim.fingerprint,
            worker=claim.worker,
            sealed=first,
            chunks=more,
        )

    async def _replay(self, claim: Claim, head: _Answered) -> Replay | Unreplayable:
        sealed = await self._chunks.read(_subject(claim.place), head.sealed, head.chunks)
        unseal = self._seal.open
        try:
            large = len(sealed) > OFFLOADED_BYTES
            answer = await asyncio.to_thread(unseal, claim, sealed) if large else unseal(claim, sealed)
        except SealBroken:
            _log.error("a kept answer is damaged", request_id=head.request_id)
            return Unreplayable(head.request_id, "unreadable")
        return Replay(head.request_id, answer)


def _subject(place: str) -> str:
    return f"idem.{place}"
