"""What this process counts, for Prometheus."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from prometheus_client import CollectorRegistry, Histogram

from api.tallies import Spread, Spreads, Tallies, Tally
from commands.answer_request import Running
from domain.money import NANOS_PER_USD
from domain.pricing import TOKEN_CLASSES
from domain.request import RequestCached, RequestCompleted

DURATION_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
OVERHEAD_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
APPEND_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
BATCH_EVENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class RequestTelemetry:
    """Requests, tokens, cost, duration, overhead, time to first token."""

    def __init__(self, registry: CollectorRegistry) -> None:
        dimensions = ("model", "provider")
        self._requests = Tallies("agg_requests", "AI requests that ended", (*dimensions, "outcome"), registry)
        self._refused = Tallies("agg_refused", "AI requests refused before admission", ("status",), registry)
        self._tokens = Tallies("agg_tokens", "Tokens by class", (*dimensions, "token_class"), registry)
        self._cost = Tallies("agg_cost_usd", "Cost of ended requests in USD", dimensions, registry)
        self._duration = Spreads(
            "agg_request_duration_seconds", "From arrival to end", dimensions, registry, DURATION_S
        )
        self._overhead = Spreads(
            "agg_overhead_seconds", "The part of the duration that no provider took", dimensions, registry, OVERHEAD_S
        )
        self._first_token = Spreads(
            "agg_time_to_first_token_seconds", "From arrival to the first token", dimensions, registry, DURATION_S
        )
        self._series: dict[tuple[str, str], _Series] = {}

    def refused(self, status: int) -> None:
        self._refused.labels(str(status)).inc()

    def ended(self, running: Running) -> None:
        end = running.end
        if end is None:
            return
        series = self._series.get((end.model, end.provider)) or self._open(end.model, end.provider)
        (series.completed if type(end) is RequestCompleted else series.failed).inc()
        series.cost.inc(end.cost_nanos / NANOS_PER_USD)
        for tally, count in zip(series.tokens, msgspec.structs.astuple(end.tokens), strict=True):
            if count:
                tally.inc(count)
        duration_s = time.perf_counter() - running.command.started_s
        series.duration.observe(duration_s)
        series.overhead.observe(max(0.0, duration_s - running.upstream_s))
        if running.first_token_s is not None:
            series.first_token.observe(running.first_token_s - running.command.started_s)

    def cached(self, end: RequestCached, started_s: float) -> None:
        """No provider took any of its time."""
        series = self._series.get((end.model, end.provider)) or self._open(end.model, end.provider)
        series.completed.inc()
        if end.cost_nanos:
            series.cost.inc(end.cost_nanos / NANOS_PER_USD)
        duration_s = time.perf_counter() - started_s
        series.duration.observe(duration_s)
        series.overhead.observe(duration_s)

    def _open(self, model: str, provider: str) -> "_Series":
        """Looked up once: a lookup by labels costs more than counting."""
        series = self._series[model, provider] = _Series(
            completed=self._requests.labels(model, provider, "completed"),
            failed=self._requests.labels(model, provider, "failed"),
            cost=self._cost.labels(model, provider),
            tokens=tuple(self._tokens.labels(model, provider, name) for name in TOKEN_CLASSES),
            duration=self._duration.labels(model, provider),
            overhead=self._overhead.labels(model, provider),
            first_token=self._first_token.labels(model, provider),
        )
        return series


@dataclass(frozen=True)
class _Series:
    """What one model of one provider is counted in."""

    completed: Tally
    failed: Tally
    cost: Tally
    tokens: tuple[Tally, ...]
    duration: Spread
    overhead: Spread
    first_token: Spread


class CacheTelemetry:
    """What came of each call of the response cache."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Tallies("agg_cache_calls", "Calls of the response cache", ("outcome",), registry)

    def count(self, outcome: str) -> None:
        self._calls.labels(outcome).inc()

    def of(self, part: str) -> Callable[[str], None]:
        """What counts the outcomes of a part of it, each with its name before it: `embedding_slow`."""
        return lambda outcome: self.count(f"{part}_{outcome}")


class LogTelemetry:
    """Latency and batch size of publishes to the request log."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._latency = Histogram(
            "agg_log_append_seconds", "From publish to durable", registry=registry, buckets=APPEND_S
        )
        self._batch = Histogram(
            "agg_log_batch_events", "Events in one publish", registry=registry, buckets=BATCH_EVENTS
        )

    def published(self, events: int, latency_s: float) -> None:
        self._latency.observe(latency_s)
        self._batch.observe(events)
