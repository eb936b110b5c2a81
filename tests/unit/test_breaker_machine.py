"""Callers that probe, end and die in any order, of a provider that is sick and well by turns."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain.breaker import (
    AskProbe,
    Breaker,
    BreakerInput,
    BreakerPolicy,
    CallsEnded,
    ProbeEnded,
    Throttle,
    decide,
    evolve,
    phase_at,
)

START = 1_000_000
POLICY = BreakerPolicy(window_ms=10_000, minimum_calls=4, open_ms=5_000, longest_open_ms=60_000, probe_ms=30_000)


class ManyCallers(RuleBasedStateMachine):
    """A call has no name: any of those that run may end."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now_ms = START
        self.sick = False
        self.calls = 0
        self.probes: dict[str, int] = {}  # running, and when each is lost
        self.count = 0

    def tell(self, said: BreakerInput) -> None:
        before = self.breaker
        facts = decide(before, said, POLICY, self.now_ms)
        for fact in facts:
            self.breaker = evolve(self.breaker, fact)
        assert facts or self.breaker == before

    @rule(ms=st.integers(0, 20_000))
    def time_goes_by(self, ms: int) -> None:
        self.now_ms += ms
        self.probes = {probe: lost_ms for probe, lost_ms in self.probes.items() if lost_ms > self.now_ms}

    @rule()
    def the_provider_falls_sick_or_gets_well(self) -> None:
        self.sick = not self.sick

    @rule()
    def a_call_begins(self) -> None:
        if phase_at(self.breaker, self.now_ms) == "closed":
            self.calls += 1

    @precondition(lambda self: self.calls)
    @rule()
    def a_call_ends(self) -> None:
        self.calls -= 1
        self.tell(CallsEnded(1, int(self.sick)))

    @rule()
    def somebody_wants_to_probe(self) -> None:
        self.count += 1
        probe = f"p{self.count}"
        self.tell(AskProbe(probe))
        if self.breaker.probe == probe:
            self.probes[probe] = self.now_ms + POLICY.probe_ms

    @precondition(lambda self: self.probes)
    @rule(data=st.data(), heard=st.booleans())
    def a_probe_ends(self, data: st.DataObject, heard: bool) -> None:
        probe = data.draw(st.sampled_from(sorted(self.probes)))
        del self.probes[probe]
        self.tell(ProbeEnded(probe, good=not self.sick if heard else None))

    @rule(ms=st.integers(0, 5_000))
    def the_provider_throttles(self, ms: int) -> None:
        self.tell(Throttle(self.now_ms + ms))

    @invariant()
    def never_more_than_one_probe_at_a_time(self) -> None:
        assert len(self.probes) <= 1

    @invariant()
    def a_probe_runs_only_while_it_is_said_to(self) -> None:
        assert bool(self.probes) == (phase_at(self.breaker, self.now_ms) == "probing")

    def teardown(self) -> None:
        """The provider is well from here on: then so is the breaker, after a bounded time."""
        self.sick, self.calls = False, 0
        for _ in range(4):
            self.time_goes_by(POLICY.longest_open_ms)
            if phase_at(self.breaker, self.now_ms) == "half_open":
                self.somebody_wants_to_probe()
                self.tell(ProbeEnded(self.breaker.probe, good=True))
                self.probes.clear()
        assert phase_at(self.breaker, self.now_ms) == "closed"


ManyCallers.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
test_many_callers = ManyCallers.TestCase
