"""Counters and histograms of one thread: counting is an addition without a lock, and what Prometheus wants to read is
made when it asks. They are used, and read, as those of its own client."""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Tally:
    """How much there was in all."""

    __slots__ = ("created_s", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self.created_s = time.time()

    def inc(self, amount: float = 1) -> None:
        self.total += amount

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        yield "_total", {}, self.total
        yield "_created", {}, self.created_s


class Spread:
    """How many there were of what size; a bound belongs to what is below it."""

    __slots__ = ("_bounds", "_counts", "created_s", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.created_s = time.time()

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        seen = 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            seen += count
            yield "_bucket", {"le": floatToGoString(bound)}, seen
        yield "_count", {}, seen
        yield "_sum", {}, self.total
        yield "_created", {}, self.created_s


Child = TypeVar("Child", Tally, Spread)


class _Family(Collector, Generic[Child]):
    """One for each combination of labels that was named."""

    kind: str

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._children: dict[tuple[str, ...], Child] = {}
        registry.register(self)

    def _new(self) -> Child:
        raise NotImplementedError

    def labels(self, *values: str) -> Child:
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._new()
        return child

    def collect(self) -> Iterator[Metric]:
        metric = Metric(self._name, self._text, self.kind)
        for values, child in tuple(self._children.items()):
            named = dict(zip(self._labels, values, strict=True))
            for suffix, more, value in child.samples():
                metric.add_sample(self._name + suffix, {**named, **more}, value)
        yield metric


class Tallies(_Family[Tally]):
    kind = "counter"

    def _new(self) -> Tally:
        return Tally()


class Spreads(_Family[Spread]):
    kind = "histogram"

    def __init__(
        self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry, bounds: Sequence[float]
    ) -> None:
        super().__init__(name, text, labels, registry)
        self._bounds = bounds

    def _new(self) -> Spread:
        return Spread(self._bounds)
