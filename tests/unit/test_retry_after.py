"""How long to wait is read from whatever a provider writes, and is never a number that nobody can wait for."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.retry_after import LONGEST_S, retry_after_s
from api.errors import failure_of
from domain.errors import ProviderRefused

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("20.", 20.0),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 13:00:30 +0100", 30.0),
        ("Mon, 23 Nov 2026 12:00:30 -0000", 30.0),
        ("Monday, 23-Nov-26 12:00:30 GMT", 30.0),
        ("Mon Nov 23 12:00:30 2026", 30.0),
        ("Mon, 23 Nov 2026 11:59:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_S),
        ("99999999999999999999", LONGEST_S),
        ("9" * 400, LONGEST_S),
    ],
)
def test_seconds_and_dates_are_understood(said: str, seconds: float) -> None:
    assert retry_after_s({"retry-after": said}, NOW) == seconds


@pytest.mark.parametrize(
    "said",
    [
        "",
        "-1",
        "nan",
        "inf",
        "-inf",
        "Infinity",
        "1e400",
        "1_0",
        "٣",
        "soon",
        "7s",
        "Mon, 99 Nov 2026 12:00:00 GMT",
        "0x7",
    ],
)
def test_what_is_no_time_is_none(said: str) -> None:
    assert retry_after_s({"retry-after": said}, NOW) is None
    assert retry_after_s({"retry-after-ms": said}, NOW) is None


def test_milliseconds_come_first_where_they_are_a_number() -> None:
    assert retry_after_s({"retry-after-ms": "250", "retry-after": "1"}, NOW) == 0.25
    assert retry_after_s({"retry-after-ms": "soon", "retry-after": "1"}, NOW) == 1.0
    assert retry_after_s({"retry-after-ms": "9" * 400}, NOW) == LONGEST_S
    assert retry_after_s({}, NOW) is None


@given(name=st.sampled_from(["retry-after", "retry-after-ms"]), said=st.text(max_size=40) | st.floats().map(str))
def test_whatever_a_provider_writes_the_client_is_told_a_wait_that_its_sdk_honours(name: str, said: str) -> None:
    wait = retry_after_s({name: said}, NOW)
    failure = failure_of(ProviderRefused("openai", "Slow down.", status=429, retry_after_s=wait))

    assert wait is None or 0 <= wait <= LONGEST_S
    assert int(failure.headers.get("retry-after", "1")) in range(1, 121)
