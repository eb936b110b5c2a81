"""What the reply subject of a delivered message says."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.deliveries import Delivery, read_delivery

NUMBERS = st.integers(0, 2**63)


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_both_forms_say_the_same(position: int, number: int, stored_ns: int, follow: int) -> None:
    places = f"{position}.{number}.{stored_ns}.{follow}"

    told = Delivery("REQ", position, number, stored_ns, follow)
    assert read_delivery(f"$JS.ACK.REQ.feed.1.{places}") == told
    assert read_delivery(f"$JS.ACK._.ACCHASH.REQ.feed.1.{places}") == told
    assert read_delivery(f"$JS.ACK.hub.ACCHASH.REQ.feed.1.{places}.token") == told


def test_the_time_is_exact_to_the_microsecond() -> None:
    stored = Delivery("REQ", 1, 1, 1_795_458_956_123_456_789, 0).stored_at

    assert stored == datetime(2026, 11, 23, 18, 35, 56, 123_456, UTC)


@pytest.mark.parametrize("reply", ["", "_INBOX.a.b", "$JS.ACK.REQ.feed.1.2.3", "$JS.ACK.REQ.feed.1.x.3.4.5"])
def test_what_is_no_delivery_is_refused(reply: str) -> None:
    with pytest.raises(ValueError):
        read_delivery(reply)
