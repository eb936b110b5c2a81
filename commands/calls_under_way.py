"""The calls of one request that are under way: never more than two. Each has leave of its deployment's breaker and a
place within its limits, taken in one place and given back in one place."""

from collections.abc import AsyncIterator, Iterator

import msgspec

from commands.failover import Failover
from commands.holds import NOTHING_HELD, Held
from commands.route_limits import soonest
from commands.route_plan import Candidate
from commands.running import AnswerRequest
from domain.breakers import Permit
from domain.errors import AggregatorError, ProviderTimeout
from domain.faults import may_be_billed
from domain.limits import Verdict
from domain.ports import PreparedCall
from domain.upstream import ReplyPiece, Usage


class Leave(msgspec.Struct, frozen=True):
    """To call a deployment once."""

    permit: Permit
    held: Held


class Call(msgspec.Struct, eq=False):
    """`usage` is what was reported so far. `pieces`: those of a stream that are still to come, once it has begun."""

    candidate: Candidate
    prepared: PreparedCall
    leave: Leave
    timeout_s: float
    began_s: float
    usage: Usage | None = None
    first_s: float | None = None
    pieces: AsyncIterator[ReplyPiece] | None = None


class CallsUnderWay:
    """In the order in which they began. `full`: of the deployments that were not called because they have all that
    their providers grant, what is said of the one that is free again first."""

    def __init__(self, shared: Failover, command: AnswerRequest, full: Verdict | None) -> None:
        self.full = full
        self._shared = shared
        self._command = command
        self._calls: list[Call] = []

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls)

    def __contains__(self, call: Call) -> bool:
        return call in self._calls

    @property
    def first(self) -> Call:
        return self._calls[0]

    def beside(self, call: Call) -> list[Call]:
        return [each for each in self._calls if each is not call]

    async def leave(self, candidate: Candidate) -> Leave | None:
        """None when it must not be called now. Hand it to `began` or `unused` at once."""
        permit = await self._shared.breakers.admit(candidate.deployment)
        if permit is None:
            return None
        try:
            held = await self._shared.limits.of_deployment(self._command, candidate)
        except BaseException:
            self._shared.breakers.given_up(permit)
            raise
        if not isinstance(held, Verdict):
            return Leave(permit, held)
        self._shared.breakers.given_up(permit)
        self.full = soonest(self.full, held)
        return None

    def began(self, candidate: Candidate, prepared: PreparedCall, leave: Leave, timeout_s: float, now_s: float) -> Call:
        call = Call(candidate, prepared, leave, timeout_s, now_s)
        self._shared.views.began(candidate.deployment)
        self._calls.append(call)
        return call

    def ended(self, call: Call, error: AggregatorError | None) -> None:
        """`error` None: it answered, be it that nobody read it to its end."""
        self._give_back(call, is_used=error is None or may_be_billed(error))
        shared, name = self._shared, call.candidate.deployment
        duration_s = shared.now_s() - call.began_s
        first_s = None if call.first_s is None else call.first_s - call.began_s
        if error is None or isinstance(error, ProviderTimeout):
            first_ms = None if first_s is None else first_s * 1000
            shared.views.observe(name, duration_ms=duration_s * 1000, first_token_ms=first_ms)
        shared.breakers.ended(call.leave.permit, error, duration_s if first_s is None else first_s)

    def lost(self, call: Call) -> None:
        """Another one beside it is waited for, or answered. Who began first and is outrun was slow."""
        if call is self._calls[0]:
            waited_ms, stream = self.lasted_s(call) * 1000, self._command.call.stream
            self._shared.views.outlasted(call.candidate.deployment, waited_ms=waited_ms, stream=stream)
        self.left(call)

    def left(self, call: Call) -> None:
        """Nobody waited for anything of it."""
        self._give_back(call, is_used=True)
        self._shared.breakers.given_up(call.leave.permit)

    def unused(self, leave: Leave) -> None:
        leave.held.ended(0, 0)
        self._shared.breakers.given_up(leave.permit)

    def lasted_s(self, call: Call) -> float:
        return self._shared.now_s() - call.began_s

    def _give_back(self, call: Call, *, is_used: bool) -> None:
        """Where the provider may have worked and reported nothing, its tokens stay counted as they were expected."""
        self._calls.remove(call)
        if call.leave.held is not NOTHING_HELD:
            tokens = call.usage.tokens.total if call.usage else None if is_used else 0
            call.leave.held.ended(tokens, 0)
        self._shared.views.ended(call.candidate.deployment)
