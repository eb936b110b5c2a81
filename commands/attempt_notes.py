"""The attempts of one request that did not answer it: remembered for what is done next, and noted in the log."""

from commands import request_facts
from commands.calls_under_way import Call, CallsUnderWay
from commands.failover import Desk
from commands.route_plan import Candidate
from commands.running import Running
from domain.errors import AggregatorError
from domain.failover import Attempt, GiveUp, Step
from domain.request import RequestAttempted


class AttemptNotes:
    """`attempts` are those that ended badly, in turn. The last of them is noted once it is known that the request's end
    does not tell it."""

    def __init__(self, desk: Desk, running: Running, calls: CallsUnderWay) -> None:
        self.attempts: list[Attempt] = []
        self._desk = desk
        self._running = running
        self._calls = calls
        self._last: RequestAttempted | None = None

    def refused(self, route: str, candidate: Candidate, error: AggregatorError) -> None:
        """It was not even called."""
        self._last = self._counted(route, candidate, error)

    def failed(self, route: str, call: Call, error: AggregatorError) -> None:
        """A call that is over. What goes on beside it is told by its own end."""
        fact = self._counted(route, call.candidate, error)
        self._last = request_facts.billed(fact, call.candidate, call.usage, self._calls.lasted_s(call))
        if self._calls:
            self.note_last()

    def lost(self, call: Call) -> None:
        """A call that was given up for another."""
        fact = request_facts.hedged(self._running, call.candidate, len(self.attempts) + 1, self._desk.clock())
        self._desk.note(request_facts.billed(fact, call.candidate, call.usage, self._calls.lasted_s(call)))

    def note_last(self) -> None:
        fact, self._last = self._last, None
        if fact is not None:
            self._desk.note(fact)

    def note_unless_final(self, step: Step) -> bool:
        """The last failure is told by the request's end, unless that tells an earlier one, or its provider bills it.
        Whether it was noted: then it has its place in the log after one turn of the event loop."""
        fact, running = self._last, self._running
        if isinstance(step, GiveUp):
            running.gave_up = step
            running.attempts = len(self.attempts)
            is_told = bool(self.attempts) and step.error is self.attempts[-1].error
            if is_told and not (fact and fact.cost_nanos):
                return False
        self.note_last()
        return fact is not None

    def _counted(self, route: str, candidate: Candidate, error: AggregatorError) -> RequestAttempted:
        self.attempts.append(Attempt(route, candidate.deployment, error))
        number = len(self.attempts)
        self._running.attempts = number + len(self._calls)
        return request_facts.attempted(self._running, candidate, number, error, self._desk.clock())
