"""State that is looked up when Prometheus asks: projection lag, unsettled requests, open leases."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge

from domain.breaker import Phase
from domain.breakers import BreakerView
from domain.errors import Unavailable
from domain.ports import Database, LogEnds
from projections.lag import read_lags

PHASES: Mapping[Phase, int] = {"closed": 0, "throttled": 1, "half_open": 2, "probing": 2, "open": 3}


class StateFigures:
    def __init__(self, registry: CollectorRegistry) -> None:
        names = ("projection", "stream")
        self._messages = Gauge("agg_projection_lag_events", "Messages not shown yet", names, registry=registry)
        self._seconds = Gauge("agg_projection_lag_seconds", "Age of the oldest of them", names, registry=registry)
        self._parked = Gauge("agg_parked_events", "Events set aside", ("projection",), registry=registry)
        self._oldest = Gauge(
            "agg_oldest_unsettled_seconds", "Age of the oldest request that is open or not charged", registry=registry
        )
        self._leases = Gauge("agg_open_leases", "Leases of credit that workers hold", registry=registry)
        self._open = Gauge("agg_open_requests", "Requests admitted and not ended", registry=registry)
        self._breaker = Gauge(
            "agg_breaker_phase",
            "0 closed, 1 throttled, 2 half open or probing, 3 open",
            ("deployment",),
            registry=registry,
        )
        self._up = Gauge("agg_state_up", "Whether the figures of this group could be read", registry=registry)

    def observe_breakers(self, views: Sequence[BreakerView]) -> None:
        self._breaker.clear()
        for view in views:
            self._breaker.labels(view.deployment).set(PHASES[view.phase])

    async def observe(self, database: Database, log: LogEnds, at: datetime) -> None:
        """What cannot be read keeps its last value, and `agg_state_up` says so."""
        try:
            await self._observe(database, log, at)
            self._up.set(1)
        except Unavailable:
            self._up.set(0)

    async def _observe(self, database: Database, log: LogEnds, at: datetime) -> None:
        for lag in await read_lags(database, log, at):
            self._messages.labels(lag.projection, lag.stream).set(lag.messages)
            self._seconds.labels(lag.projection, lag.stream).set(lag.seconds)
            self._parked.labels(lag.projection).set(lag.parked)
        rows = await database.fetch("SELECT oldest_open_at, open_requests, open_leases FROM settlement")
        oldest = min((row["oldest_open_at"] for row in rows if row["oldest_open_at"]), default=at)
        self._oldest.set(max(0.0, (at - oldest).total_seconds()))
        self._leases.set(sum(row["open_leases"] for row in rows))
        self._open.set(sum(row["open_requests"] for row in rows))
