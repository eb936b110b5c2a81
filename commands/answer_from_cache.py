"""A request that an earlier answer is enough for: one durable fact, and a charge where its route says so."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

import msgspec

from commands import provider_words
from commands.credit_leases import CreditLeases, Reservation
from domain.errors import OutcomeUnknown
from domain.ids import AccountId, KeyId, LeaseId, RequestId, UserId
from domain.ports import RequestLog
from domain.request import CACHE_HIT, NO_LEASE, SEMANTIC_CACHE_HIT, RequestCached
from domain.response_cache import CachedAnswer, CachePolicy


class HitFacts(msgspec.Struct, frozen=True):
    """Who asked, and the `answer` there is: kept for a `route`, whose `policy` says what a hit costs."""

    request_id: RequestId
    account_id: AccountId
    key_id: KeyId | None
    user_id: UserId | None
    started_s: float
    route: str
    answer: CachedAnswer
    policy: CachePolicy


class AnswerFromCache:
    def __init__(self, leases: CreditLeases, requests: RequestLog, clock: Callable[[], datetime]) -> None:
        self._leases = leases
        self._requests = requests
        self._clock = clock
        self._charging: set[asyncio.Task[tuple[RequestCached, int]]] = set()

    async def record(self, hit: HitFacts) -> tuple[RequestCached, int]:
        """The fact and its position, once it is durable: only then may the answer be given. What is free asks for no
        credit.

        Raises CreditExhausted, Busy, and Unavailable when the log or the ledger does not answer. Whoever is cancelled
        meanwhile may be charged, as for an answer that they do not wait for.
        """
        cost_nanos = hit.policy.hit_nanos(hit.answer)
        if not cost_nanos:
            event = self._event(hit, 0, NO_LEASE)
            return event, await self._requests.append(event)
        reservation = self._leases.try_reserve(hit.account_id, cost_nanos, self._clock())
        reservation = reservation or await self._leases.reserve(hit.account_id, cost_nanos)
        charging = asyncio.create_task(self._charge(hit, reservation))
        self._charging.add(charging)
        charging.add_done_callback(self._charging.discard)
        return await asyncio.shield(charging)

    async def _charge(self, hit: HitFacts, reservation: Reservation) -> tuple[RequestCached, int]:
        """Goes on when nobody waits, so that what becomes of the event is known. What was sent will be recorded, though
        nobody may be told so: then it is spent."""
        cost_nanos, spent_nanos = reservation.amount_nanos, 0
        try:
            event = self._event(hit, cost_nanos, reservation.lease_id)
            position = await self._requests.append(event)
            spent_nanos = cost_nanos
        except OutcomeUnknown:
            spent_nanos = cost_nanos
            raise
        finally:
            reservation.release(spent_nanos)
        return event, position

    def _event(self, hit: HitFacts, cost_nanos: int, lease_id: LeaseId) -> RequestCached:
        answer = hit.answer
        said = provider_words.name(answer.model)
        return RequestCached(
            request_id=hit.request_id,
            account_id=hit.account_id,
            at=self._clock(),
            lease_id=lease_id,
            model=answer.catalogue_model or said,
            provider=answer.provider,
            price_id=CACHE_HIT if answer.similarity is None else SEMANTIC_CACHE_HIT,
            key_id=hit.key_id,
            user_id=hit.user_id,
            stream=answer.is_stream,
            cost_nanos=cost_nanos,
            upstream_model=said,
            duration_ms=round((time.perf_counter() - hit.started_s) * 1000),
            endpoint=answer.endpoint,
            route=hit.route,
            finish_reason=provider_words.name(answer.finish_reason),
            similarity=answer.similarity,
            saved_nanos=answer.cost_nanos - cost_nanos,
        )
