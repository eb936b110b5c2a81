"""The breakers of one process, in its memory: all there is without Valkey, and the cache in front of it."""

from collections.abc import Callable

from domain.breaker import (
    AskProbe,
    Breaker,
    BreakerInput,
    BreakerPolicy,
    CallsEnded,
    Phase,
    ProbeEnded,
    after,
    phase_at,
    told_by,
    told_by_probe,
)
from domain.breakers import BreakerView, Permit
from domain.errors import AggregatorError

Hear = Callable[[str, BreakerInput], None]


def deaf(deployment: str, told: BreakerInput) -> None:
    """For who does not pass on what happened."""


class LocalBreakers:
    """`clock` is seconds since 1970; `new_probe` makes names that no other process makes. `hear` is told of all that
    changes a breaker here."""

    def __init__(
        self, policy: BreakerPolicy, clock: Callable[[], float], new_probe: Callable[[], str], hear: Hear = deaf
    ) -> None:
        self.policy = policy
        self.states: dict[str, Breaker] = {}
        self.shared = False
        self._clock = clock
        self._new_probe = new_probe
        self._hear = hear

    def keep(self, deployments: frozenset[str]) -> None:
        self.states = {name: self.states.get(name, Breaker()) for name in deployments}

    def phase(self, deployment: str) -> Phase:
        state = self.states.get(deployment)
        return "closed" if state is None or state.is_free else phase_at(state, self.now_ms())

    async def admit(self, deployment: str) -> Permit | None:
        return self.try_admit(deployment)

    def try_admit(self, deployment: str) -> Permit | None:
        phase = self.phase(deployment)
        if phase == "closed":
            return Permit(deployment)
        return self._probe(deployment) if phase == "half_open" else None

    def ended(self, permit: Permit, error: AggregatorError | None, duration_s: float) -> None:
        now_ms, duration_ms = self.now_ms(), round(duration_s * 1000)
        if permit.probe:
            said = told_by_probe(permit.probe, error, duration_ms, self.policy, now_ms)
        else:
            said = told_by(error, duration_ms, self.policy, now_ms)
        for told in said:
            self._tell(permit.deployment, told, now_ms)

    def given_up(self, permit: Permit) -> None:
        if permit.probe:
            self._tell(permit.deployment, ProbeEnded(permit.probe, good=None), self.now_ms())

    def view(self) -> list[BreakerView]:
        now_ms = self.now_ms()
        return [_view(name, state, now_ms, shared=self.shared) for name, state in sorted(self.states.items())]

    def now_ms(self) -> int:
        return round(self._clock() * 1000)

    def _probe(self, deployment: str) -> Permit:
        """The slot is taken before anybody waits for anything: others here see it at once."""
        asked = AskProbe(self._new_probe())
        self.states[deployment] = after(self.states[deployment], asked, self.policy, self.now_ms())
        return Permit(deployment, asked.probe)

    def _tell(self, deployment: str, told: BreakerInput, now_ms: int) -> None:
        """Calls that end while a breaker is open say nothing to anybody."""
        state = self.states.get(deployment)
        if state is None:
            return
        then = after(state, told, self.policy, now_ms)
        if then is state and isinstance(told, CallsEnded):
            return
        self.states[deployment] = then
        self._hear(deployment, told)


def _view(name: str, state: Breaker, now_ms: int, *, shared: bool) -> BreakerView:
    phase = phase_at(state, now_ms)
    until_ms = {
        "throttled": state.throttled_until_ms,
        "open": state.open_until_ms,
        "probing": state.probe_until_ms,
    }.get(phase)
    return BreakerView(
        deployment=name,
        phase=phase,
        reason=state.reason,
        until_s=None if until_ms is None else until_ms / 1000,
        opened_in_a_row=state.opened,
        calls=state.calls + state.earlier_calls,
        failed=state.failed + state.earlier_failed,
        slow=state.slow + state.earlier_slow,
        shared=shared,
    )
