"""The log is a promise: each fact as it was written once is read and written the same for ever."""

from typing import Any

import msgspec
import pytest

from adapters.in_memory import InMemoryEventLog
from adapters.live_leases import LiveLeases
from commands.store import Cause, EventStore
from domain.events import FACTS, Envelope, UnknownFact, decode_batch, decode_envelope, decode_fact, tag_of
from domain.ids import CommandId, LeaseId
from domain.ledger import LEDGER, CreditLeased, Lease, Ledger, lease
from domain.ports import Append
from domain.request import abandoned
from domain.response_cache import CachePolicy
from tests.golden import ACC, AT, EVT_MESSAGE, GOLDEN, LATER, LEA, LEAN, OF_LEDGER, REQ_MESSAGE


def name_of(value: object) -> str | None:
    return type(value).__name__ if isinstance(value, msgspec.Struct) else ""


def envelope_of(raw: bytes) -> Envelope:
    tag = msgspec.json.decode(raw)["type"]
    return Envelope(
        specversion="1.0",
        id="1",
        source="/t",
        type=tag,
        subject="t/1",
        time=AT,
        accountid=ACC,
        sequence=1,
        data=msgspec.Raw(raw),
    )


def test_every_fact_has_its_literal() -> None:
    assert {tag_of(fact) for fact, _ in GOLDEN} == set(FACTS)


@pytest.mark.parametrize(("fact", "raw"), [*GOLDEN, *LEAN], ids=name_of)
def test_a_fact_is_read_from_its_bytes_and_written_as_the_same(fact: Any, raw: bytes) -> None:
    assert decode_fact(envelope_of(raw)) == fact
    assert msgspec.json.encode(fact) == raw


@pytest.mark.parametrize(("fact", "raw"), GOLDEN, ids=name_of)
def test_every_field_of_a_fact_stands_in_its_literal(fact: Any, raw: bytes) -> None:
    """So that no field can change its name or its form unseen."""
    written = set(msgspec.json.decode(raw)) - {"type"}

    assert written == {field.encode_name for field in msgspec.structs.fields(type(fact))}


@pytest.mark.parametrize(("fact", "raw"), GOLDEN, ids=name_of)
def test_a_member_that_this_release_does_not_know_is_passed_over(fact: Any, raw: bytes) -> None:
    assert decode_fact(envelope_of(raw[:-1] + b',"after":{},"of_tomorrow":[1]}')) == fact


def test_a_tag_that_this_release_does_not_know_is_said_so() -> None:
    with pytest.raises(UnknownFact, match="of_tomorrow"):
        decode_fact(msgspec.structs.replace(envelope_of(GOLDEN[0][1]), type="account.of_tomorrow.v1"))


def test_a_route_that_was_cached_before_hits_had_a_price_gives_them_for_nothing() -> None:
    raw = (
        b'{"type":"catalog.route_set.v1","at":"2026-01-02T03:04:05Z","route":{"name":"r","deployments":["d"]},'
        b'"cache":{"ttl_s":60,"scope":"account","max_bytes":1048576,"semantic":null}}'
    )

    assert decode_fact(envelope_of(raw)).cache == CachePolicy(ttl_s=60, hit_percent=0)


def test_a_message_of_evt_is_one_event_that_carries_the_state_after_it() -> None:
    envelope = decode_envelope(EVT_MESSAGE)

    assert msgspec.json.encode(envelope) == EVT_MESSAGE
    assert (envelope.id, envelope.sequence, envelope.prevhash) == (
        "2f6c9a1e-0000-5000-8000-000000000001",
        2,
        "ab" * 32,
    )
    assert decode_fact(envelope) == CreditLeased(
        **OF_LEDGER, lease_id=LEA, worker="api-1", amount_nanos=500_000_000, expires_at=LATER
    )
    leases = LiveLeases()
    leases.apply(EVT_MESSAGE)
    assert leases.find(ACC, LEA) == Lease("api-1", 500_000_000, LATER)


async def test_a_cold_aggregate_is_read_from_its_last_message_and_the_next_one_names_its_hash() -> None:
    log, address = InMemoryEventLog(), LEDGER.at(ACC)
    await log.append([Append(address, 0, [("2f6c9a1e-0000-5000-8000-000000000001", EVT_MESSAGE)])])
    store = EventStore(log, "/api/api-1")
    proposed = CreditLeased(**OF_LEDGER, lease_id=LeaseId("lea2"), worker="w", amount_nanos=0, expires_at=LATER)

    cold = await store.load(LEDGER, address)
    await store.change(LEDGER, address, lambda ledger: lease(ledger, proposed), Cause(CommandId("c1"), AT, "test"))

    assert (cold.version, cold.state) == (2, Ledger(5_000_000_000, {LEA: Lease("api-1", 500_000_000, LATER)}, 12))
    last = await log.last(address)
    assert last is not None
    assert last.envelope.prevhash == "e2703316a9cadabbb38d0ae858d823a9a57710d1058cfbdbe92e4f61b90e2b23"


def test_a_message_of_req_is_a_batch_of_one_writers_events() -> None:
    batch = decode_batch(REQ_MESSAGE)

    assert msgspec.json.encode(batch) == REQ_MESSAGE
    assert [(each.source, each.sequence) for each in batch] == [("/workers/api-1", 41), ("/workers/api-1", 42)]
    assert [decode_fact(each) for each in batch] == [LEAN[3][0], LEAN[0][0]]


def test_an_abandoned_request_says_by_which_policy_it_is_charged() -> None:
    """Left out as a default, it would follow whatever policy a later release has."""
    raw = msgspec.json.encode(abandoned(LEAN[3][0], AT))

    assert msgspec.json.decode(raw)["policy"] == "input_estimate.v1"
