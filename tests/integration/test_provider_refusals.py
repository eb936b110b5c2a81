"""A provider that refuses is told as it said it, without our credentials, and is never asked twice."""

import json
from typing import Any

import pytest

from domain.errors import ProviderRefused, ProviderTimeout
from domain.request import RequestFailed
from tests.broken_upstream import STREAM_HEAD, Do, Step, answer, chunk, head
from tests.provider_ways import EMBEDDINGS, SECRET, STREAMS, WAYS, Way, answered
from tests.vendor_wires import good_stream

every_way = pytest.mark.parametrize("way", [*WAYS, *EMBEDDINGS], ids=str)
of_each_vendor = pytest.mark.parametrize("way", [way for way in WAYS if way.endpoint == "messages"], ids=str)
STATUSES = (300, 301, 302, 307, 308, *(400, 401, 403, 404, 408, 409, 413, 422, 429), *(500, 502, 503, 504, 529))
WORDS = f"Not with {SECRET}."


def refusal_of(vendor: str) -> dict[str, Any]:
    match vendor:
        case "anthropic":
            return {"type": "error", "error": {"type": "overloaded_error", "message": WORDS}}
        case "google":
            return {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": WORDS}}
        case "cohere":
            return {"id": "1", "message": WORDS}
        case _:
            return {"error": {"message": WORDS, "type": "server_error", "code": f"bad_{SECRET}"}}


def refused(vendor: str, status: int, headers: str = "") -> bytes:
    return answer(json.dumps(refusal_of(vendor)).encode(), status=status, headers=headers)


@every_way
async def test_every_error_status_is_a_refusal_in_the_providers_words(way: Way) -> None:
    for status in STATUSES:
        outcome = await answered(way, refused(way.vendor.name, status, "location: /elsewhere\r\n"))

        assert isinstance(outcome.error, ProviderRefused)
        assert isinstance(outcome.end, RequestFailed)
        assert (outcome.error.status, str(outcome.error)) == (status, "Not with ***.")
        assert (outcome.end.upstream_status, outcome.end.cost_nanos) == (status, 0)


BODIES: dict[str, bytes] = {
    "empty": b"",
    "HTML": b"<html>Bad gateway</html>",
    "no object": b"[[]]",
    "no words": b'{"error":{}}',
    "empty words": b'{"error":{"message":""},"message":""}',
    "words of a wrong type": b'{"error":{"message":{"a":1}},"message":7}',
    "not UTF-8": b'{"error":{"message":"\xff"},"message":"\xff"}',
    "cut": b'{"error":{"mess',
    "nested deeply": b"[" * 100_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@of_each_vendor
async def test_a_refusal_whose_body_says_nothing_is_told_by_its_status(way: Way, body: bytes) -> None:
    outcome = await answered(way, answer(body, status=503))

    assert isinstance(outcome.error, ProviderRefused)
    assert (outcome.error.status, outcome.end.cost_nanos) == (503, 0)


@pytest.mark.parametrize("last", [(), (Do.RESET,), (Do.STALL,)], ids=["closed", "reset", "stalled"])
@of_each_vendor
async def test_a_refusal_whose_body_breaks_is_told_by_its_status(way: Way, last: tuple[Step, ...]) -> None:
    outcome = await answered(way, head("content-length: 900\r\n", status=429) + b'{"err', *last, read_timeout_s=0.02)

    assert isinstance(outcome.error, ProviderRefused)
    assert (outcome.error.status, outcome.end.cost_nanos) == (429, 0)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ("retry-after: 7\r\n", 7.0),
        ("retry-after-ms: 250\r\nretry-after: 1\r\n", 0.25),
        ("retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n", 86_400.0),
        ("retry-after: inf\r\n", None),
        ("retry-after: nan\r\n", None),
        ("retry-after: -3\r\n", None),
        ("", None),
    ],
)
@of_each_vendor
async def test_how_long_to_wait_is_a_time_or_nothing(way: Way, headers: str, seconds: float | None) -> None:
    outcome = await answered(way, refused(way.vendor.name, 429, headers))

    assert isinstance(outcome.error, ProviderRefused)
    assert outcome.error.retry_after_s == seconds


@pytest.mark.parametrize(("delay", "seconds"), [("30s", 30.0), ("1.5s", 1.5), ("inf s", None), ("-1s", None)])
async def test_gemini_says_in_the_body_how_long_to_wait(delay: str, seconds: float | None) -> None:
    way = next(way for way in WAYS if way.vendor.name == "google")
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    body = {"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED", "details": [info]}}

    outcome = await answered(way, answer(json.dumps(body).encode(), status=429))

    assert isinstance(outcome.error, ProviderRefused)
    assert outcome.error.retry_after_s == seconds


STALLS: dict[str, tuple[Step, ...]] = {
    "before the status line": (Do.STALL,),
    "in the headers": (b"HTTP/1.1 200 OK\r\ncontent-", Do.STALL),
    "after the headers": (STREAM_HEAD, Do.STALL),
    "in the body": (STREAM_HEAD + chunk(b": nothing yet\n\n"), Do.STALL),
}


@pytest.mark.parametrize("script", STALLS.values(), ids=STALLS.keys())
@every_way
async def test_a_provider_that_falls_silent_is_a_timeout(way: Way, script: tuple[Step, ...]) -> None:
    outcome = await answered(way, *script, read_timeout_s=0.02)

    assert isinstance(outcome.error, ProviderTimeout)
    assert (outcome.end.cost_nanos, outcome.data) == (0, b"")


@pytest.mark.parametrize("way", [way for way in STREAMS if way.endpoint == "messages"], ids=str)
async def test_a_provider_that_falls_silent_after_some_words_is_paid_for_them(way: Way) -> None:
    words = chunk(b"".join(way.wire.begun()))

    outcome = await answered(way, STREAM_HEAD + words, Do.STALL, read_timeout_s=0.3)

    assert isinstance(outcome.error, ProviderTimeout)
    assert (outcome.end.evidence, outcome.running.delivered_chars) == ("estimated", 6)


@pytest.mark.parametrize("way", [way for way in STREAMS if way.vendor.name != "google"], ids=str)
async def test_a_stream_is_over_with_its_end_mark_though_the_connection_stays_open(way: Way) -> None:
    outcome = await answered(way, STREAM_HEAD + chunk(b"".join(good_stream(way.wire))), Do.STALL)

    assert (outcome.error, outcome.end.evidence, outcome.end.cost_nanos) == (None, "reported", 24)


async def test_where_there_is_no_end_mark_a_connection_that_stays_open_is_a_timeout_at_the_reported_price() -> None:
    way = next(way for way in STREAMS if way.vendor.name == "google")

    outcome = await answered(way, STREAM_HEAD + chunk(b"".join(good_stream(way.wire))), Do.STALL, read_timeout_s=0.3)

    assert isinstance(outcome.error, ProviderTimeout)
    assert (outcome.end.evidence, outcome.end.cost_nanos) == ("reported", 24)
