"""Identifiers are a promise: what the log holds under them must be found for ever."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.aggregate import Aggregate
from domain.catalog import MODEL, model_address
from domain.ids import BUCKETS, CommandId, bucket_of, event_id, uuid7
from domain.ledger import LEDGER

BUCKETS_FOR_EVER = [
    ("", 46),
    ("a", 222),
    ("system", 170),
    ("0190d3a5-0000-7000-8000-000000000001", 56),
    ("käse", 127),
]
ENTROPY = st.binary(min_size=10, max_size=10)
MILLISECONDS = st.integers(0, 2**48 - 1)


@pytest.mark.parametrize(("ident", "bucket"), BUCKETS_FOR_EVER)
def test_the_bucket_of_an_id_never_changes(ident: str, bucket: int) -> None:
    assert bucket_of(ident) == bucket


@given(st.text())
def test_every_id_has_one_of_256_buckets(ident: str) -> None:
    assert 0 <= bucket_of(ident) < BUCKETS == 256


@given(MILLISECONDS, ENTROPY)
def test_a_uuid7_is_one_by_the_book(unix_ms: int, entropy: bytes) -> None:
    made = uuid.UUID(uuid7(unix_ms, entropy))

    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == unix_ms


@given(MILLISECONDS, MILLISECONDS, ENTROPY, ENTROPY)
def test_a_later_uuid7_sorts_after_an_earlier_one(one: int, other: int, here: bytes, there: bytes) -> None:
    first, second = sorted((one, other))
    if first < second:
        assert uuid7(first, here) < uuid7(second, there)


@given(ENTROPY, ENTROPY)
def test_uuids_of_the_same_millisecond_differ_when_their_random_bits_do(one: bytes, other: bytes) -> None:
    kept = int("0fff3fff" + "ffff" * 3, 16)
    same = int.from_bytes(one, "big") & kept == int.from_bytes(other, "big") & kept

    assert (uuid7(1, one) == uuid7(1, other)) is same


def test_a_uuid7_is_literally_this() -> None:
    assert uuid7(0x0190D3A50001, bytes(range(10))) == "0190d3a5000170018203040506070809"


def test_the_same_command_writes_the_same_event_ids() -> None:
    assert event_id(CommandId("c1"), 0) == "32e223da-be49-54eb-88b5-1a34accdf2d1"
    assert event_id(CommandId("c1"), 1) == "30b11d21-9612-58d2-91f5-8843b5093a21"


def test_an_aggregate_lives_in_its_owners_bucket_under_one_literal_subject() -> None:
    assert LEDGER.at("a").subject == "evt.222.ledger.a"
    assert Aggregate("key", int, lambda state, _: state).at("k1", owner="a").subject == "evt.222.key.k1"


def test_a_model_is_found_under_a_hash_of_its_name_for_ever() -> None:
    assert model_address("openai/gpt-4o").subject == "evt.170.model.8ab18cb183965f2dd271cc71"
    assert MODEL.kind == "model"
