"""An answer that was kept, given again: in the shape in which it was given first, once its cost is on the log."""

import asyncio

from api.ai_answer import EVENT_STREAM, JSON, as_header, receipt
from api.asked import Asked
from api.send import send_whole
from api.slow_client import is_taken
from api.telemetry import RequestTelemetry
from commands.answer_from_cache import AnswerFromCache, HitFacts
from domain.errors import OutcomeUnknown
from domain.money import usd
from domain.request import RequestCached
from domain.response_cache import CachedAnswer, CachePolicy


class GivenAgain:
    def __init__(self, answer_from_cache: AnswerFromCache, telemetry: RequestTelemetry) -> None:
        self._answer_from_cache = answer_from_cache
        self._telemetry = telemetry

    async def give(self, asked: Asked, answer: CachedAnswer, policy: CachePolicy) -> None:
        """Raises CreditExhausted, Unavailable and Busy, and then nothing was given. What may have been recorded all the
        same (OutcomeUnknown, or nobody waits any more) may be charged, and counts so."""
        try:
            end, position = await self._answer_from_cache.record(_facts(asked, answer, policy))
        except (OutcomeUnknown, asyncio.CancelledError):
            asked.held.count_use(0, policy.hit_nanos(answer))
            raise
        asked.held.count_use(0, end.cost_nanos)
        self._telemetry.cached(end, asked.started_s)
        cost = usd(end.cost_nanos)
        headers = _headers(asked, end, position, cost)
        body = answer.body + receipt(cost, position) + answer.closing if answer.is_stream else answer.body
        await is_taken(send_whole(asked.client.send, 200, headers, body))


def _facts(asked: Asked, answer: CachedAnswer, policy: CachePolicy) -> HitFacts:
    caller, resolved = asked.caller, asked.resolved
    return HitFacts(
        request_id=asked.request_id,
        account_id=caller.account_id,
        key_id=caller.key_id,
        user_id=caller.user_id,
        started_s=asked.started_s,
        route=resolved.name,
        answer=answer,
        policy=policy,
    )


def _headers(asked: Asked, end: RequestCached, position: int, cost: str) -> list[tuple[bytes, bytes]]:
    return [
        *(EVENT_STREAM if end.stream else (JSON,)),
        (b"x-request-id", asked.request_id.encode()),
        (b"x-agg-provider", end.provider.encode()),
        (b"x-agg-model", as_header(end.model)),
        *asked.held.turn.headers,
        (b"x-agg-attempts", b"0"),
        (b"x-agg-position", b"REQ:%d" % position),
        *asked.held.limit_headers,
        (b"x-agg-cost-usd", cost.encode()),
    ]
