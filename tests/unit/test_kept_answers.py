"""Sealed answers open for what they were sealed for, whole and unaltered, and names tell nothing."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.kept_answers import AnswerSeal
from adapters.sealing import SealBroken
from domain.idempotency import Claim, Fingerprint, KeptAnswer, idempotency_key
from domain.ids import RequestId

SEAL = AnswerSeal(bytes(range(32)))
CLAIM = Claim(
    scope="acc_1",
    place="p1",
    revision=7,
    fingerprint="f1",
    request_id=RequestId("req_1"),
    worker="w",
    since=datetime(2026, 1, 1, tzinfo=UTC),
)
ANSWER = KeptAnswer(200, ((b"content-type", b"application/json"),), b'{"text":"hello"}')

answers = st.builds(
    KeptAnswer,
    st.integers(100, 599),
    st.lists(st.tuples(st.binary(), st.binary()), max_size=4).map(tuple),
    st.binary(max_size=2_000),
    st.booleans(),
)


@given(answers)
def test_what_is_sealed_opens_as_it_was(answer: KeptAnswer) -> None:
    assert SEAL.open(CLAIM, SEAL.seal(CLAIM, answer)) == answer


@given(st.data())
def test_an_altered_answer_is_refused(data: st.DataObject) -> None:
    sealed = bytearray(SEAL.seal(CLAIM, ANSWER))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(SealBroken):
        SEAL.open(CLAIM, bytes(sealed))


@given(st.integers(0, 500))
def test_a_part_of_an_answer_is_refused(length: int) -> None:
    sealed = SEAL.seal(CLAIM, ANSWER)

    with pytest.raises(SealBroken):
        SEAL.open(CLAIM, sealed[: min(length, len(sealed) - 1)])


@pytest.mark.parametrize("changed", ["scope", "place", "request_id", "fingerprint"])
def test_an_answer_opens_for_its_own_claim_only(changed: str) -> None:
    other = msgspec.structs.replace(CLAIM, **{changed: "other"})

    with pytest.raises(SealBroken):
        SEAL.open(other, SEAL.seal(CLAIM, ANSWER))


def test_another_secret_opens_nothing() -> None:
    with pytest.raises(SealBroken):
        AnswerSeal(bytes(32)).open(CLAIM, SEAL.seal(CLAIM, ANSWER))


def test_two_seals_of_an_answer_have_nothing_in_common() -> None:
    assert SEAL.seal(CLAIM, ANSWER)[:12] != SEAL.seal(CLAIM, ANSWER)[:12]


@given(st.text(max_size=6), st.text(max_size=6), st.text(max_size=6), st.text(max_size=6))
def test_scope_and_route_are_never_run_together(scope: str, route: str, other_scope: str, other_route: str) -> None:
    key = idempotency_key("k")
    same = (scope, route) == (other_scope, other_route)

    assert (SEAL.place(scope, route, key) == SEAL.place(other_scope, other_route, key)) == same


def test_names_need_the_secret() -> None:
    key, other = idempotency_key("k"), AnswerSeal(bytes(32))

    assert SEAL.place("a", "r", key) != other.place("a", "r", key)
    assert SEAL.keyed("p", Fingerprint("f")) != other.keyed("p", Fingerprint("f"))


def test_a_short_secret_is_no_secret() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        AnswerSeal(b"short")
