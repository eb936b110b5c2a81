"""What this process counts reads as if Prometheus' own client had counted it."""

import re

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from api.tallies import Spreads, Tallies

BOUNDS = (0.005, 0.5, 1, 300)
LABELS = ("model", "provider")
SIZES = st.lists(st.one_of(st.sampled_from(BOUNDS), st.integers(0, 10**6), st.floats(0, 1000)), max_size=20)


def page(registry: CollectorRegistry) -> str:
    """As /metrics shows it; when a series began is the only thing that differs."""
    return re.sub(r"(_created\{.*\}) .*", r"\1", generate_latest(registry).decode())


@given(SIZES)
def test_a_histogram_is_read_as_one_of_the_client(sizes: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    one = Spreads("agg_s", 'A "text"', LABELS, ours, BOUNDS).labels("m", 'p"\n')
    other = Histogram("agg_s", 'A "text"', LABELS, registry=theirs, buckets=BOUNDS).labels("m", 'p"\n')

    for size in sizes:
        one.observe(size)
        other.observe(size)

    assert page(ours) == page(theirs)


@given(SIZES)
def test_a_counter_is_read_as_one_of_the_client(sizes: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    one, other = Tallies("agg_c", "A text", LABELS, ours), Counter("agg_c", "A text", LABELS, registry=theirs)

    for size in sizes:
        for family in (one, other):
            family.labels("m", "p").inc(size)
            family.labels("m", "q").inc()

    assert page(ours) == page(theirs)


def test_what_was_named_and_never_counted_is_nought() -> None:
    registry = CollectorRegistry()
    Tallies("agg_c", "A text", LABELS, registry).labels("m", "p")

    assert registry.get_sample_value("agg_c_total", {"model": "m", "provider": "p"}) == 0
