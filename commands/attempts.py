"""A request that several deployments may answer, as one call: what fails on the way is known here, recorded, and
told to nobody but the log.

Every attempt has a permit of its breaker and gives it back once. Once something reached the client a failure is final.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from commands import request_facts
from commands.failover import Desk, broken
from commands.route_plan import Candidate
from commands.running import Running
from domain.breakers import Permit
from domain.errors import (
    AggregatorError,
    CreditExhausted,
    InvalidInput,
    ProviderTimeout,
)
from domain.failover import Attempt, FallBackTo, GiveUp, Now, Plan, Step, TryNext, next_step
from domain.ports import PreparedCall
from domain.request import RequestAttempted
from domain.upstream import Reply, ReplyPiece, Usage


class _Call(msgspec.Struct):
    """One attempt under way. `usage` is what was reported before anything was delivered."""

    candidate: Candidate
    prepared: PreparedCall
    permit: Permit
    timeout_s: float
    began_s: float
    usage: Usage | None = None
    first_s: float | None = None


class RoutedCall:
    """A PreparedCall over all candidates of a running request. `first` is of the candidate that admission prepared."""

    def __init__(self, desk: Desk, running: Running, first: PreparedCall) -> None:
        plan = running.command.routed
        assert plan is not None, "a plain model is called without this"
        self._desk = desk
        self._shared = desk.failover
        self._running = running
        self._ask = plan.ask
        self._prepared = first
        self._first: tuple[Candidate, PreparedCall] | None = (running.candidate, first)
        self._candidates = {candidate.deployment: candidate for candidate in plan.candidates}
        self._plan = Plan(plan.trail, tuple(self._candidates), running.command.started_s, plan.too_long)
        self._attempts: list[Attempt] = []
        self._hopeless: frozenset[str] = frozenset()
        self._unnoted: RequestAttempted | None = None

    @property
    def dropped(self) -> Sequence[str]:
        return self._prepared.dropped

    async def complete(self) -> Reply:
        """Raises what is left to be told when nobody answered: the ProviderError family, or a refusal of ours."""
        self._begin()
        while True:
            call = await self._next()
            try:
                async with asyncio.timeout(call.timeout_s):
                    reply = await call.prepared.complete()
            except Exception as error:
                self._failed(call, error)
            except BaseException:
                self._left(call)
                raise
            else:
                self._over(call, None)
                return reply

    async def stream(self) -> AsyncIterator[ReplyPiece]:
        """As `complete`. Nothing of a failed attempt comes out, unless it delivered something: then it is the last."""
        self._begin()
        call, piece, pieces = await self._opened()
        try:
            yield piece
            async for each in pieces:
                if self._shared.now_s() > self._plan.deadline_s:
                    raise ProviderTimeout(call.candidate.provider, "The answer took longer than its route allows.")
                yield each
        except Exception as error:
            self._over(call, _told(error, call.candidate.provider))
            raise
        except BaseException:
            self._over(call, None)
            raise
        self._over(call, None)

    async def _opened(self) -> tuple[_Call, ReplyPiece, AsyncIterator[ReplyPiece]]:
        """The call that answers, its first piece and those that follow."""
        while True:
            call = await self._next()
            pieces = call.prepared.stream()
            try:
                async with asyncio.timeout(call.timeout_s):
                    piece = await self._first_of(call, pieces)
            except Exception as error:
                self._failed(call, error)
            except BaseException:
                self._left(call)
                raise
            else:
                call.first_s = self._shared.now_s()
                return call, piece, pieces

    async def _first_of(self, call: _Call, pieces: AsyncIterator[ReplyPiece]) -> ReplyPiece:
        """The first with something for the client, and in it what came before; an empty one when all is over."""
        held = ReplyPiece(b"")
        async for piece in pieces:
            held = _joined(held, piece)
            call.usage = held.usage
            if held.data or held.closing:
                break
        return held

    # Who is next.

    def _begin(self) -> None:
        self._running.asked = False
        self._shared.budget = self._shared.budget.after_request(self._shared.now_s())

    async def _next(self) -> _Call:
        """Affordable, prepared, permitted, and waited for. Raises when there is none."""
        unavailable: frozenset[str] = frozenset()
        is_paid = False
        while True:
            step = self._step(unavailable, is_paid=is_paid)
            is_paid = is_paid or (isinstance(step, TryNext) and step.is_retry)
            await self._note_unless_final(step)
            if isinstance(step, GiveUp):
                raise step.error
            if isinstance(step, FallBackTo):
                self._fall_back(step.model)
                continue
            if step.after_s:
                await self._shared.sleep(step.after_s)
            candidate = self._candidates[step.deployment]
            ready = await self._ready(candidate)
            if ready is None:
                continue
            permit = await self._shared.breakers.admit(step.deployment)
            if permit is not None:
                return self._started(candidate, ready, permit, step.timeout_s)
            unavailable |= {step.deployment}

    def _step(self, unavailable: frozenset[str], *, is_paid: bool) -> Step:
        """A retry is paid for at once, so that no other request comes between; and once, whoever makes it."""
        shared, now_s = self._shared, self._shared.now_s()
        now = Now(now_s, is_paid or shared.budget.allows(now_s), unavailable, self._hopeless)
        step = next_step(self._plan, self._attempts, now, shared.random)
        if isinstance(step, TryNext) and step.is_retry and not is_paid:
            shared.budget = shared.budget.after_retry(now_s)
        return step

    async def _note_unless_final(self, step: Step) -> None:
        """The last failure is told by the request's end, unless that tells an earlier one, or its provider bills it."""
        fact, running = self._unnoted, self._running
        if isinstance(step, GiveUp):
            running.gave_up = step
            running.attempts = len(self._attempts)
            is_told = bool(self._attempts) and step.error is self._attempts[-1].error
            if is_told and not (fact and fact.cost_nanos):
                return
        self._unnoted = None
        if fact is not None:
            await self._desk.note(fact)

    def _fall_back(self, model: str) -> None:
        try:
            plan = self._shared.fallbacks.ordered(model, self._ask)
        except InvalidInput:
            self._hopeless |= {model}
            return
        found = {candidate.deployment: candidate for candidate in plan.candidates}
        self._candidates.update(found)
        self._plan = self._plan.fallen_back(plan.after(self._plan.route), tuple(found), too_long=plan.too_long)

    async def _ready(self, candidate: Candidate) -> PreparedCall | None:
        """None, and an attempt more, when it costs more than the credit bears or cannot do what is asked."""
        try:
            await self._afford(candidate)
            return self._prepare(candidate)
        except Exception as error:
            self._count(candidate, _told(error, candidate.provider))
            return None

    async def _afford(self, candidate: Candidate) -> None:
        """Raises CreditExhausted, or Unavailable when the ledger does not answer."""
        running, desk = self._running, self._desk
        needed = running.command.ceiling_nanos(candidate, desk.unpriced_nanos)
        missing = needed - running.held_nanos
        if missing <= 0:
            return
        more = await desk.leases.reserve(running.command.account_id, missing)
        if more.holding is not running.reservation.holding:
            more.release(0)
            raise CreditExhausted(needed, running.held_nanos)
        running.more = (*running.more, more)

    def _prepare(self, candidate: Candidate) -> PreparedCall:
        """A call is sent once: the next one to the same deployment is another."""
        first, self._first = self._first, None
        if first is not None and first[0] is candidate:
            return first[1]
        return self._desk.providers[candidate.connection].prepare(self._running.command.call_of(candidate))

    def _started(self, candidate: Candidate, prepared: PreparedCall, permit: Permit, timeout_s: float) -> _Call:
        running, now_s = self._running, self._shared.now_s()
        running.candidate = candidate
        running.ceiling_nanos = running.command.ceiling_nanos(candidate, self._desk.unpriced_nanos)
        running.attempts = len(self._attempts) + 1
        running.asked = True
        self._prepared = prepared
        self._shared.views.began(candidate.deployment)
        return _Call(candidate, prepared, permit, min(timeout_s, self._plan.deadline_s - now_s), now_s)

    # How it ended.

    def _failed(self, call: _Call, failure: Exception) -> None:
        error = _told(failure, call.candidate.provider)
        duration_s = self._shared.now_s() - call.began_s
        self._over(call, error)
        self._count(call.candidate, error)
        if self._unnoted is not None:
            self._unnoted = request_facts.billed(self._unnoted, call.candidate, call.usage, duration_s)
        self._running.asked = False

    def _count(self, candidate: Candidate, error: AggregatorError) -> None:
        self._attempts.append(Attempt(self._plan.route.name, candidate.deployment, error))
        number, at = len(self._attempts), self._desk.clock()
        self._running.attempts = number
        self._unnoted = request_facts.attempted(self._running, candidate, number, error, at)

    def _over(self, call: _Call, error: AggregatorError | None) -> None:
        """`error` None: it answered, be it that nobody read it to its end."""
        shared, name = self._shared, call.candidate.deployment
        duration_s = shared.now_s() - call.began_s
        first_s = None if call.first_s is None else call.first_s - call.began_s
        shared.views.ended(name)
        if error is None or isinstance(error, ProviderTimeout):
            first_ms = None if first_s is None else first_s * 1000
            shared.views.observe(name, duration_ms=duration_s * 1000, first_token_ms=first_ms)
        shared.breakers.ended(call.permit, error, duration_s if first_s is None else first_s)

    def _left(self, call: _Call) -> None:
        """Nobody waited for anything of it."""
        self._shared.views.ended(call.candidate.deployment)
        self._shared.breakers.given_up(call.permit)


def _told(error: Exception, provider: str) -> AggregatorError:
    if isinstance(error, AggregatorError):
        return error
    if isinstance(error, TimeoutError):
        return ProviderTimeout(provider, "The provider did not answer in the time that its route allows.")
    return broken(error, provider)


def _joined(held: ReplyPiece, piece: ReplyPiece) -> ReplyPiece:
    return ReplyPiece(
        held.data + piece.data,
        held.output_chars + piece.output_chars,
        piece.model or held.model,
        piece.finish_reason or held.finish_reason,
        piece.usage or held.usage,
        held.closing + piece.closing,
    )
