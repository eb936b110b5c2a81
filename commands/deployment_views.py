"""What this process sees of its deployments: calls in flight, and how fast they have been of late."""

from collections.abc import Callable

from domain.latency import Latency


class DeploymentViews:
    """`now_s` never goes back. Only deployments that were named to `keep` are looked at."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._in_flight: dict[str, int] = {}
        self._latency: dict[str, Latency] = {}

    def keep(self, deployments: frozenset[str]) -> None:
        """These are all there are; others are forgotten."""
        self._in_flight = {name: self._in_flight.get(name, 0) for name in deployments}
        self._latency = {name: self._latency.get(name, Latency()) for name in deployments}

    def in_flight(self, deployment: str) -> int:
        return self._in_flight.get(deployment, 0)

    def latency_ms(self, deployment: str, *, stream: bool) -> float | None:
        """Expected until the client has something; None when nothing recent is known."""
        known = self._latency.get(deployment)
        return known and known.expected_ms(self._now_s(), stream=stream)

    def began(self, deployment: str) -> None:
        if deployment in self._in_flight:
            self._in_flight[deployment] += 1

    def ended(self, deployment: str) -> None:
        """Once for each call that began, whatever came of it."""
        if self._in_flight.get(deployment, 0) > 0:
            self._in_flight[deployment] -= 1

    def observe(self, deployment: str, *, duration_ms: float, first_token_ms: float | None = None) -> None:
        """Of a call that was answered, or waited for in vain."""
        known = self._latency.get(deployment)
        if known is not None:
            self._latency[deployment] = known.observe(
                self._now_s(), duration_ms=duration_ms, first_token_ms=first_token_ms
            )

    def outlasted(self, deployment: str, *, waited_ms: float, stream: bool) -> None:
        """Of a call that was given up after so long with nothing to show. It would have taken longer: that is news
        only where less was expected."""
        expected_ms = self.latency_ms(deployment, stream=stream)
        if expected_ms is None or waited_ms > expected_ms:
            self.observe(deployment, duration_ms=waited_ms, first_token_ms=waited_ms if stream else None)
