"""A question as a vector, made by an embedding model on the account of whoever asks.

It is a request of its own: with an id, admitted, charged and ended on the log. The client did not ask for it, so it is
none of its requests and tokens a minute; what it costs counts against what may be spent. Nobody waits for it longer
than two seconds, and one that takes longer goes on to its end, so that what the provider reports is charged.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

import msgspec
import structlog

from adapters.cache_guard import CacheGuard, NoAnswer
from adapters.dialects.embeddings import EmbeddingsDialect
from api.auth import Caller
from api.rate_limits import Limited, RateLimits
from api.similar_answers import Embedding
from api.telemetry import RequestTelemetry
from commands.answer_request import AnswerRequest, AnswerRequestHandler
from commands.route_plan import RouteAsk
from commands.route_requests import RouteBook
from domain.errors import AggregatorError, ModelNotFound, ProviderError, ProviderRefused, Unavailable
from domain.ids import RequestId
from domain.limits import Demand
from domain.semantic_cache import read_vector

WAIT_S = 2.0
MOST_AT_ONCE = 256
MODELS_GUARDED = 1_000
CLOSE_S = 2.0
TEXT_REFUSED = frozenset({400, 413, 422})
"""A provider that says so is well."""
DIALECT = EmbeddingsDialect()

logger = structlog.get_logger()


class QuestionEmbedding:
    """Supplies `Embedder`. Of a model that fails or is too slow several times in a row nothing is asked for a while.
    `count` is told `refused`, `busy`, `useless`, and what the guard counts."""

    def __init__(
        self,
        routes: RouteBook,
        answer_request: AnswerRequestHandler,
        limits: RateLimits,
        telemetry: RequestTelemetry,
        new_request_id: Callable[[], RequestId],
        now: Callable[[], datetime],
        count: Callable[[str], None],
        wait_s: float = WAIT_S,
    ) -> None:
        self._routes = routes
        self._answer_request = answer_request
        self._limits = limits
        self._telemetry = telemetry
        self._new_request_id = new_request_id
        self._now = now
        self._count = count
        self._wait_s = wait_s
        self._guards: dict[str, CacheGuard] = {}
        self._running: set[asyncio.Task[Embedding | None]] = set()

    async def embed(self, text: str, model: str, caller: Caller) -> Embedding | None:
        if len(self._running) >= MOST_AT_ONCE:
            self._count("busy")
            return None
        try:
            return await self._guard_of(model).attempt(lambda: asyncio.shield(self._start(text, model, caller)))
        except NoAnswer:
            return None

    async def close(self) -> None:
        """What still runs is given up, and recorded as such. Before the request log is closed."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=CLOSE_S)

    def _guard_of(self, model: str) -> CacheGuard:
        guard = self._guards.get(model)
        if guard is None:
            if len(self._guards) >= MODELS_GUARDED:
                self._guards.clear()
            failures = (ProviderError, Unavailable)
            guard = self._guards[model] = CacheGuard(failures, time.monotonic, self._count, self._wait_s)
        return guard

    def _start(self, text: str, model: str, caller: Caller) -> asyncio.Task[Embedding | None]:
        task = asyncio.create_task(self._made(text, model, caller))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _made(self, text: str, model: str, caller: Caller) -> Embedding | None:
        """Raises what speaks against the provider or the log; None for what speaks against this question."""
        try:
            return await self._asked(self._command(text, model, caller), model)
        except ProviderRefused as refused:
            if refused.status not in TEXT_REFUSED:
                raise
        except (ProviderError, Unavailable):
            raise
        except AggregatorError:
            pass
        except Exception:
            logger.exception("question_embedding_failed", model=model)
        self._count("refused")
        return None

    async def _asked(self, command: AnswerRequest, model: str) -> Embedding | None:
        who = Limited(command.account_id, command.key_id, command.asked_for)
        demand = Demand(command.call.request_id, 0, command.dearest_nanos(self._limits.unpriced_nanos))
        permit = await self._limits.admit_unasked(who, demand)
        try:
            running = await self._answer_request.admit(command)
        except BaseException:
            permit.ended(0, 0)
            raise
        try:
            reply = await self._answer_request.complete(running)
        finally:
            end = running.end
            permit.ended(end.tokens.total if end else 0, end.cost_nanos if end else 0)
            self._telemetry.ended(running)
        vector = read_vector(reply.body)
        if vector is None:
            self._count("useless")
            return None
        return Embedding(running.candidate.model.model, vector)

    def _command(self, text: str, name: str, caller: Caller) -> AnswerRequest:
        """Raises ModelNotFound (also for a model without a price: more is charged for such than an embedding is worth),
        InvalidInput and Unavailable."""
        request, now = DIALECT.check(msgspec.json.encode({"model": name, "input": text})), self._now()
        estimate = request.input_estimate()
        who = caller.key_id or caller.account_id
        ask = RouteAsk(endpoint="embeddings", at=now, sizes=request, input_estimate=estimate, key=who)
        plan = self._routes.plan(self._routes.resolve(name, "embeddings", now), ask)
        if any(candidate.price is None for candidate in plan.candidates):
            raise ModelNotFound(name)
        first = plan.candidates[0]
        return AnswerRequest(
            call=request.call(self._new_request_id(), first.model, first.upstream_model),
            account_id=caller.account_id,
            key_id=caller.key_id,
            user_id=caller.user_id,
            at=now,
            started_s=time.perf_counter(),
            model=first.model,
            price=first.price,
            choices=request.choices,
            input_bound=request.input_bound(first.model),
            route=plan,
        )
