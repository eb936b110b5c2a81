"""An answer that was kept, given again: in the shape in which it was given first, once its cost is on the log."""

import asyncio

from api.answer_headers import EVENT_STREAM, JSON, answer_headers, cost_header, receipt
from api.asked import Asked
from api.send import send_whole
from api.slow_client import is_taken
from api.telemetry import RequestTelemetry
from commands.answer_from_cache import AnswerFromCache, HitFacts
from domain.errors import OutcomeUnknown
from domain.money import usd
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
        kind = EVENT_STREAM if answer.is_stream else (JSON,)
        headers = answer_headers(asked.request_id, (end.provider, end.model), end.attempts, position, asked.held)
        body = answer.body + receipt(cost, position) + answer.closing if answer.is_stream else answer.body
        await is_taken(send_whole(asked.client.send, 200, [*kind, *headers, cost_header(cost)], body))


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
