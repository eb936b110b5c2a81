"""Idempotency keys in memory: what a test uses, held to the contract of the real store."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from domain.errors import ConcurrentWrite, Unavailable
from domain.idempotency import (
    KEPT_S,
    LONGEST_ANSWER_BYTES,
    AnswerTooLarge,
    Claim,
    CompleteAnswer,
    Fingerprint,
    IdempotencyKey,
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


class _Held(msgspec.Struct):
    claim: Claim
    forgotten_at: datetime
    answer: CompleteAnswer | None = None


class InMemoryIdempotencyStore:
    def __init__(
        self, ends: RequestEnds, clock: Callable[[], datetime], *, lost_after_s: float, kept_s: float = KEPT_S
    ) -> None:
        self._ends = ends
        self._clock = clock
        self._lost_after = timedelta(seconds=lost_after_s)
        self._kept = timedelta(seconds=kept_s)
        self._revision = 0
        self._held: dict[str, _Held] = {}

    async def begin(
        self, scope: str, route: str, key: IdempotencyKey, fingerprint: Fingerprint, request_id: RequestId
    ) -> Outcome:
        now, place = self._clock(), repr((scope, route, key))
        self._held = {place: held for place, held in self._held.items() if held.forgotten_at > now}
        if held := self._held.get(place):
            return await self._outcome(held, fingerprint)
        self._revision += 1
        claim = Claim(
            scope=scope,
            place=place,
            revision=self._revision,
            fingerprint=fingerprint,
            request_id=request_id,
            worker="memory",
            since=now,
        )
        self._held[place] = _Held(claim, now + self._kept)
        return Won(claim)

    async def complete(self, claim: Claim, answer: CompleteAnswer) -> None:
        held = self._held.get(claim.place)
        if held is None or held.claim.revision != claim.revision:
            raise ConcurrentWrite("Another writer was first; decide again.")
        if held.answer is None:
            too_large = isinstance(answer, AnswerTooLarge) or len(answer.body) > LONGEST_ANSWER_BYTES
            held.answer = AnswerTooLarge() if too_large else answer
            held.forgotten_at = self._clock() + self._kept

    async def release(self, claim: Claim) -> None:
        held = self._held.get(claim.place)
        if held and held.claim.revision == claim.revision and held.answer is None:
            del self._held[claim.place]

    async def _outcome(self, held: _Held, fingerprint: Fingerprint) -> Outcome:
        claim = held.claim
        if claim.fingerprint != fingerprint:
            return Mismatch(claim.request_id)
        if isinstance(held.answer, AnswerTooLarge):
            return Unreplayable(claim.request_id, "too_large")
        if held.answer is not None:
            return Replay(claim.request_id, held.answer)
        return Lost(claim) if await self._is_lost(claim) else Running(claim.request_id, claim.since)

    async def _is_lost(self, claim: Claim) -> bool:
        bound = self._clock() - self._lost_after
        if claim.since > bound:
            return False
        try:
            ended_at = await self._ends.ended_at(claim)
        except Unavailable:
            return False
        return ended_at is not None and ended_at <= bound
