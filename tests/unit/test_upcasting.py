"""An event that an earlier release wrote is read in today's shape."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from domain.events import FACTS, UnknownFact, decode_envelope, decode_fact
from domain.ledger import CreditGranted
from domain.upcasting import UPCASTS, current_tag, upcast


def cents_to_nanos(data: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in data.items() if name != "amount_cents"}
    return {**rest, "amount_nanos": data["amount_cents"] * 10_000_000}


def with_a_source(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "source": "manual"}


STEPS = {
    "ledger.credit_granted.v-1": ("ledger.credit_granted.v0", cents_to_nanos),
    "ledger.credit_granted.v0": ("ledger.credit_granted.v1", with_a_source),
}
WRITTEN = (
    b'{"specversion":"1.0","id":"e1","source":"/api/1","type":"ledger.credit_granted.v-1","subject":"ledger/a1",'
    b'"time":"2026-11-01T00:00:00Z","accountid":"a1","sequence":1,"data":{"type":"ledger.credit_granted.v-1",'
    b'"account_id":"a1","at":"2026-11-01T00:00:00Z","amount_cents":250,"reason":"hello"}}'
)


def test_an_event_goes_through_every_step_to_todays_shape() -> None:
    fact = decode_fact(decode_envelope(WRITTEN), STEPS)

    assert fact == CreditGranted(
        account_id="a1",  # type: ignore[arg-type]
        at=datetime(2026, 11, 1, tzinfo=UTC),
        amount_nanos=2_500_000_000,
        source="manual",
        reason="hello",
    )


def test_the_tag_of_today_is_known_without_reading_the_data() -> None:
    assert current_tag("ledger.credit_granted.v-1", STEPS) == "ledger.credit_granted.v1"
    assert current_tag("ledger.credit_granted.v1", STEPS) == "ledger.credit_granted.v1"


def test_a_tag_that_nobody_knows_stays_unknown() -> None:
    with pytest.raises(UnknownFact):
        decode_fact(decode_envelope(WRITTEN))


def test_data_that_is_no_object_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        upcast("ledger.credit_granted.v0", b"[]", STEPS)


def test_every_step_ends_at_a_fact_of_today_and_no_fact_of_today_is_outdated() -> None:
    assert {current_tag(tag) for tag in UPCASTS} <= set(FACTS)
    assert not set(UPCASTS) & set(FACTS)
