"""A request that several deployments may answer, as one call: what fails on the way is known here, recorded, and
told to nobody but the log.

Every attempt has leave of its breaker and its limits, and gives it back once. Once something reached the client a
failure is final. Where its route hedges, a call that has given nothing for a while gets a second one beside it: the
first to give something answers, the other is given up and recorded.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import msgspec

from commands.asking import Answer, Ask, close, first_piece, whole
from commands.attempt_notes import AttemptNotes
from commands.calls_under_way import Call, CallsUnderWay, Leave
from commands.failover import Desk, told
from commands.ready_call import afford, prepare
from commands.route_limits import soonest
from commands.route_plan import Candidate
from commands.running import Running
from commands.side_by_side import first_answer
from commands.within import within
from domain.errors import AggregatorError, DeploymentsFull, InvalidInput, ProviderTimeout
from domain.failover import LEAST_TIME_S, FallBackTo, GiveUp, Now, Plan, Step, TryNext, hedge, next_step
from domain.ports import PreparedCall
from domain.upstream import Reply, ReplyPiece

_NOBODY: frozenset[str] = frozenset()


class RoutedCall:
    """Over all candidates of a running request, the one that admission prepared for first. Sent once, by either method.

    The request does not know it: the two would be a cycle.
    """

    def __init__(self, desk: Desk, running: Running) -> None:
        plan = running.command.routed
        assert plan is not None, "a plain model is called without this"
        self._desk = desk
        self._shared = desk.failover
        self._running = running
        self._ask = plan.ask
        self._first: tuple[Candidate, PreparedCall] | None = (running.candidate, running.prepared)
        self._candidates = {candidate.deployment: candidate for candidate in plan.candidates}
        self._plan = Plan(plan.trail, tuple(self._candidates), running.command.started_s, plan.too_long)
        self._deadline_s = self._plan.deadline_s
        self._calls = CallsUnderWay(desk.failover, running.command, plan.full)
        self._notes = AttemptNotes(desk, running, self._calls)
        self._hopeless = _NOBODY

    async def complete(self) -> Reply:
        """Raises what is left to be told when nobody answered: the ProviderError family, or a refusal of ours."""
        call, reply = await self._answered(whole)
        self._calls.ended(call, None)
        return reply

    async def stream(self) -> AsyncGenerator[ReplyPiece]:
        """As `complete`. Nothing of a failed attempt comes out, unless it delivered something: then it is the last."""
        call, piece = await self._answered(first_piece)
        pieces = call.pieces
        assert pieces is not None, "it has begun"
        call.first_s = self._shared.now_s()
        try:
            yield piece
            async for each in pieces:
                if self._shared.now_s() > self._deadline_s:
                    raise ProviderTimeout(call.candidate.provider, "The answer took longer than its route allows.")
                call.usage = each.usage or call.usage
                yield each
        except Exception as error:
            raise self._cut(call, error) from None
        except BaseException:
            self._calls.ended(call, None)
            raise
        else:
            self._calls.ended(call, None)
        finally:
            await close(pieces)

    async def _answered(self, ask: Ask[Answer]) -> tuple[Call, Answer]:
        """By the call that is still under way then."""
        self._running.asked = False
        self._shared.counts_request()
        try:
            if len(self._plan.trail) > 1:
                await self._hold_fallback()
            while True:
                call = await self._next()
                answered = await (self._raced(call, ask) if self._may_hedge(call) else self._asked(call, ask))
                if answered is not None:
                    return answered
        except BaseException:
            await self._abandoned()
            raise

    async def _asked(self, call: Call, ask: Ask[Answer]) -> tuple[Call, Answer] | None:
        """None when it failed, which is recorded, unless it was given up before."""
        try:
            with within(call.timeout_s):
                return call, await ask(call)
        except Exception as error:
            if call in self._calls:
                self._failed(call, error)
            return None

    # Two side by side.

    def _may_hedge(self, call: Call) -> bool:
        if self._plan.route.hedge_after_s is None or self._running.hedged:
            return False
        return hedge(self._plan, self._notes.attempts, call.candidate.deployment, self._now()) is not None

    async def _raced(self, call: Call, ask: Ask[Answer]) -> tuple[Call, Answer] | None:
        """As `_asked`. What is noted has its place in the log before anything is done with the answer."""
        first = await first_answer(self._asked(call, ask), self._company(call, ask), self._calls.__len__)
        if first is not None:
            lost = self._calls.beside(first[0])
            for other in lost:
                self._lost(other)
            for other in lost:
                await close(other.pieces)
            await asyncio.sleep(0)
        return first

    async def _company(self, call: Call, ask: Ask[Answer]) -> tuple[Call, Answer] | None:
        """Of a second call, once the first has given nothing for long enough; None when there cannot be one."""
        await self._shared.sleep(self._plan.route.hedge_after_s or 0.0)
        second = await self._second(call)
        return None if second is None else await self._asked(second, ask)

    async def _second(self, call: Call) -> Call | None:
        """Affordable beside the first, permitted, and paid for once nothing else can come between."""
        unavailable = _NOBODY
        held_nanos = self._ceiling_nanos(call.candidate)
        while True:
            step = hedge(self._plan, self._notes.attempts, call.candidate.deployment, self._now(unavailable))
            if step is None:
                return None
            unavailable |= {step.deployment}
            candidate = self._candidates[step.deployment]
            ready = await self._ready(candidate, held_nanos + self._ceiling_nanos(candidate))
            if isinstance(ready, AggregatorError):
                continue
            leave = await self._calls.leave(candidate)
            if leave is None:
                continue
            if not (self._is_in_time() and self._shared.pays_retry()):
                self._calls.unused(leave)
                return None
            self._running.hedged = True
            return self._started(candidate, ready, leave, step.timeout_s)

    def _lost(self, call: Call) -> None:
        self._notes.lost(call)
        self._calls.lost(call)
        self._follow(self._calls.first)

    async def _abandoned(self) -> None:
        """Nobody waits any more. What one call may cost is told by the request's end, of another by itself."""
        calls = list(self._calls)
        for other in calls[1:]:
            self._lost(other)
        for first in calls[:1]:
            self._calls.left(first)
        for call in calls:
            await close(call.pieces)

    # Who is next.

    async def _hold_fallback(self) -> None:
        """Where nobody of the asked route could take the request at all."""
        if not await self._may_be(self._plan.route.name, self._plan.candidates):
            self._plan = msgspec.structs.replace(self._plan, candidates=())

    async def _next(self) -> Call:
        """Affordable, prepared, permitted, and waited for. Raises when there is none."""
        unavailable, is_paid = _NOBODY, False
        while True:
            step = self._step(unavailable, is_paid=is_paid)
            if self._notes.note_unless_final(step):
                await asyncio.sleep(0)
            if isinstance(step, GiveUp):
                raise step.error
            if isinstance(step, FallBackTo):
                await self._fall_back(step.model)
                continue
            is_paid = is_paid or step.is_retry
            if step.after_s:
                await self._shared.sleep(step.after_s)
            candidate = self._candidates[step.deployment]
            needed_nanos = self._ceiling_nanos(candidate)
            is_held = needed_nanos <= self._running.held_nanos
            ready = self._prepare(candidate) if is_held else await self._ready(candidate, needed_nanos)
            if isinstance(ready, AggregatorError):
                self._notes.refused(self._plan.route.name, candidate, ready)
                continue
            leave = await self._calls.leave(candidate)
            if leave is None:
                unavailable |= {step.deployment}
            elif self._is_in_time():
                return self._started(candidate, ready, leave, step.timeout_s)
            else:
                self._calls.unused(leave)

    def _step(self, unavailable: frozenset[str], *, is_paid: bool) -> Step:
        """A retry is paid for at once, so that no other request comes between; and once, whoever makes it. A first call
        is none."""
        now = self._now(unavailable, is_paid=is_paid or not self._notes.attempts)
        step = next_step(self._plan, self._notes.attempts, now, self._shared.random)
        if isinstance(step, TryNext) and step.is_retry and not is_paid:
            self._shared.pays_retry()
        if isinstance(step, GiveUp) and self._calls.full and not self._notes.attempts:
            return msgspec.structs.replace(step, error=DeploymentsFull(self._calls.full))
        return step

    def _now(self, unavailable: frozenset[str] = _NOBODY, *, is_paid: bool = False) -> Now:
        now_s = self._shared.now_s()
        return Now(now_s, is_paid or self._shared.budget.allows(now_s), unavailable, self._hopeless)

    async def _fall_back(self, model: str) -> None:
        try:
            plan = self._shared.fallbacks.ordered(model, self._ask)
        except InvalidInput:
            self._hopeless |= {model}
            return
        found = {candidate.deployment: candidate for candidate in plan.candidates}
        self._candidates.update(found)
        self._calls.full = soonest(self._calls.full, plan.full)
        if not await self._may_be(model, tuple(found)):
            found = {}
        self._plan = self._plan.fallen_back(plan.after(self._plan.route), tuple(found), too_long=plan.too_long)

    async def _may_be(self, name: str, candidates: Sequence[str]) -> bool:
        """Whether the caller's own limits let the request fall back to this name. It is held there until its end."""
        if not candidates:
            return True
        running, found = self._running, [self._candidates[candidate] for candidate in candidates]
        held = await self._shared.limits.of_fallback(running.command, name, found)
        if held is None:
            return False
        running.held = (*running.held, held)
        return True

    async def _ready(self, candidate: Candidate, needed_nanos: int) -> PreparedCall | AggregatorError:
        """What speaks against it, when the credit does not bear that much, or it cannot do what is asked."""
        refusal = await afford(self._desk, self._running, candidate, needed_nanos)
        return refusal or self._prepare(candidate)

    def _ceiling_nanos(self, candidate: Candidate) -> int:
        return self._running.command.ceiling_nanos(candidate, self._desk.unpriced_nanos)

    def _prepare(self, candidate: Candidate) -> PreparedCall | AggregatorError:
        """A call is sent once: the next one to the same deployment is another."""
        first, self._first = self._first, None
        if first is not None and first[0] is candidate:
            return first[1]
        return prepare(self._desk, self._running, candidate)

    def _is_in_time(self) -> bool:
        """Time went by, it may be, while the call was made ready."""
        return self._deadline_s - self._shared.now_s() >= LEAST_TIME_S

    def _started(self, candidate: Candidate, prepared: PreparedCall, leave: Leave, timeout_s: float) -> Call:
        now_s = self._shared.now_s()
        call = self._calls.began(candidate, prepared, leave, min(timeout_s, self._deadline_s - now_s), now_s)
        self._notes.note_last()
        self._running.attempts = len(self._notes.attempts) + len(self._calls)
        self._running.asked = True
        self._follow(self._calls.first)
        return call

    def _follow(self, call: Call) -> None:
        """From now on the request is this call's."""
        running = self._running
        running.prepared = call.prepared
        if running.candidate is not call.candidate:
            running.candidate = call.candidate
            running.ceiling_nanos = self._ceiling_nanos(call.candidate)

    # How it ended.

    def _failed(self, call: Call, failure: Exception) -> None:
        error = told(failure, call.candidate.provider)
        self._calls.ended(call, error)
        self._notes.failed(self._plan.route.name, call, error)
        self._running.asked = bool(self._calls)
        if self._calls:
            self._follow(self._calls.first)

    def _cut(self, call: Call, failure: Exception) -> AggregatorError:
        """A stream of which something was delivered: nobody else can go on with it."""
        error = told(failure, call.candidate.provider)
        self._calls.ended(call, error)
        return error
