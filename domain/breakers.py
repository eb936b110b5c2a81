"""The port to all breakers of a process."""

from typing import Protocol

import msgspec

from domain.breaker import Phase, Reason
from domain.errors import AggregatorError


class Permit(msgspec.Struct, frozen=True):
    """Leave to call a deployment once, handed back when the call is over. `probe` names the call that tries whether
    the deployment has recovered; empty otherwise."""

    deployment: str
    probe: str = ""


class BreakerView(msgspec.Struct, frozen=True, kw_only=True):
    """`until_s` is when what `phase` says ends by itself, in seconds since 1970. Counts are of the current window.
    `shared`: all workers know the same."""

    deployment: str
    phase: Phase
    reason: Reason
    until_s: float | None
    opened_in_a_row: int
    calls: int
    failed: int
    slow: int
    shared: bool


class Breakers(Protocol):
    """Nothing here raises, and nothing waits but `admit`, shortly, for a deployment that is to be probed."""

    def keep(self, deployments: frozenset[str]) -> None:
        """These are all there are. Others are forgotten; of those nothing is held, and all is permitted."""
        ...

    def phase(self, deployment: str) -> Phase: ...

    async def admit(self, deployment: str) -> Permit | None:
        """None when it must not be called now. Hand a permit back by `ended` or `given_up`."""
        ...

    def ended(self, permit: Permit, error: AggregatorError | None, duration_s: float) -> None:
        """`error` None: answered. `duration_s` is to be until the first token of a stream."""
        ...

    def given_up(self, permit: Permit) -> None:
        """Nobody waited for its end (a hedge that lost, a client that left before anything came)."""
        ...

    def view(self) -> list[BreakerView]: ...
