"""An answer from the cache as it is counted, read and declared."""

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from adapters.catalog.declared_routing import CacheEntry, RouteEntry
from api.cli.catalog_declared import _route_line
from api.routes.requests import _shown, _timeline
from api.telemetry import RequestTelemetry
from domain.request import RequestEvent
from projections import requests
from projections.requests import ADMISSION, END, REQUESTS, RequestRow
from tests.histories import events_of, request_message
from tests.money import admitted, cached, completed

SERIES = {"model": "m", "provider": "sim"}


def row_of(*events: RequestEvent) -> RequestRow:
    (row,) = requests.fold(events_of(REQUESTS, [request_message(4, events)])).admitted.values()
    return msgspec.convert(dict(zip((*ADMISSION, *END), row, strict=True)), RequestRow)


def test_an_answer_from_the_cache_is_counted_as_a_request_that_completed() -> None:
    registry = CollectorRegistry()
    telemetry = RequestTelemetry(registry)

    telemetry.cached(cached("r", 2_000_000_000), started_s=0.0)
    telemetry.cached(cached("s"), started_s=0.0)

    counted = {
        "agg_requests_total": {**SERIES, "outcome": "completed"},
        "agg_request_duration_seconds_count": SERIES,
        "agg_overhead_seconds_count": SERIES,
        "agg_cost_usd_total": SERIES,
    }
    assert [registry.get_sample_value(name, labels) for name, labels in counted.items()] == [2] * 4
    assert registry.get_sample_value("agg_requests_total", {**SERIES, "outcome": "failed"}) == 0


def test_an_answer_from_the_cache_is_read_with_what_it_saved_and_as_one_step() -> None:
    row = row_of(cached("r", 5, "l1"))

    assert (_shown(row)["cost_nanos"], _shown(row)["saved_nanos"], _shown(row)["saved_usd"]) == (5, 90, "0.00000009")
    assert [(step["event"], step["position"], step["cost_nanos"]) for step in _timeline(row, [])] == [
        ("request.cached", "REQ:4", 5)
    ]


def test_what_a_provider_answered_saved_nothing_and_has_its_two_steps() -> None:
    row = row_of(admitted("r"), completed("r", 5))

    assert not {"saved_nanos", "saved_usd"} & _shown(row).keys()
    assert [step["event"] for step in _timeline(row, [])] == ["request.admitted", "request.completed"]


@pytest.mark.parametrize(
    ("cache", "said"),
    [
        (CacheEntry(ttl_s=60, hit_percent=10), "cached 60 s (account, a hit costs 10 %)"),
        (CacheEntry(ttl_s=60, scope="shared"), "cached 60 s (shared)"),
    ],
)
def test_the_catalogue_shows_what_a_hit_costs(cache: CacheEntry, said: str) -> None:
    assert _route_line(RouteEntry(name="fast", deployments=("eu",), cache=cache)).endswith(said)
