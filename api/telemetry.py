"""What this process counts, for Prometheus, and how it logs."""

import time

from prometheus_client import CollectorRegistry, Counter, Histogram

from commands.complete_chat import Running
from domain.money import NANOS_PER_USD
from domain.pricing import TOKEN_CLASSES

DURATION_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
OVERHEAD_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
APPEND_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
BATCH_EVENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class ChatTelemetry:
    """Requests, tokens, cost, duration, overhead, time to first token."""

    def __init__(self, registry: CollectorRegistry) -> None:
        dimensions = ("model", "provider")
        self._requests = Counter("agg_requests", "AI requests that ended", (*dimensions, "outcome"), registry=registry)
        self._refused = Counter("agg_refused", "AI requests refused before admission", ("status",), registry=registry)
        self._tokens = Counter("agg_tokens", "Tokens by class", (*dimensions, "token_class"), registry=registry)
        self._cost = Counter("agg_cost_usd", "Cost of ended requests in USD", dimensions, registry=registry)
        self._duration = _histogram(registry, "agg_request_duration_seconds", "From arrival to end", DURATION_S)
        self._overhead = _histogram(
            registry, "agg_overhead_seconds", "The part of the duration that no provider took", OVERHEAD_S
        )
        self._first_token = _histogram(
            registry, "agg_time_to_first_token_seconds", "From arrival to the first token", DURATION_S
        )

    def refused(self, status: int) -> None:
        self._refused.labels(str(status)).inc()

    def ended(self, running: Running) -> None:
        end = running.end
        if end is None:
            return
        model, provider = end.model, end.provider
        outcome = "completed" if end.__struct_config__.tag == "request.completed.v1" else "failed"
        self._requests.labels(model, provider, outcome).inc()
        self._cost.labels(model, provider).inc(end.cost_nanos / NANOS_PER_USD)
        for name in TOKEN_CLASSES:
            if count := getattr(end.tokens, name):
                self._tokens.labels(model, provider, name).inc(count)
        duration_s = time.perf_counter() - running.command.started_s
        self._duration.labels(model, provider).observe(duration_s)
        self._overhead.labels(model, provider).observe(max(0.0, duration_s - running.upstream_s))
        if running.first_token_s is not None:
            self._first_token.labels(model, provider).observe(running.first_token_s - running.command.started_s)


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


def _histogram(registry: CollectorRegistry, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(name, text, ("model", "provider"), registry=registry, buckets=buckets)
