"""A stored answer opens for whom it was stored, as it was stored, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.answer_sealing import open_answer, seal_answer
from adapters.sealing import SealBroken
from domain.response_cache import LARGEST_ANSWER_BYTES, CacheKey
from tests.caching import SEALING_KEY, an_answer, key_of

KEY = key_of(messages=[])
GENERATION = bytes(16)


@given(st.binary(max_size=3_000), st.booleans())
def test_what_was_sealed_opens_again(body: bytes, is_stream: bool) -> None:
    answer = an_answer(body, is_stream=is_stream)

    assert open_answer(SEALING_KEY, KEY, GENERATION, seal_answer(SEALING_KEY, KEY, GENERATION, answer)) == answer


def test_the_largest_answer_opens_too() -> None:
    answer = an_answer(b"x" * LARGEST_ANSWER_BYTES)
    sealed = seal_answer(SEALING_KEY, KEY, GENERATION, answer)

    assert len(sealed) < LARGEST_ANSWER_BYTES / 50
    assert open_answer(SEALING_KEY, KEY, GENERATION, sealed) == answer


@given(st.data())
def test_one_changed_bit_and_it_does_not_open(data: st.DataObject) -> None:
    sealed = bytearray(seal_answer(SEALING_KEY, KEY, GENERATION, an_answer()))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8

    with pytest.raises(SealBroken):
        open_answer(SEALING_KEY, KEY, GENERATION, bytes(sealed))


@given(st.integers(0, 60))
def test_a_part_of_it_does_not_open(length: int) -> None:
    with pytest.raises(SealBroken):
        open_answer(SEALING_KEY, KEY, GENERATION, seal_answer(SEALING_KEY, KEY, GENERATION, an_answer())[:length])


@pytest.mark.parametrize(
    ("sealing_key", "key", "generation"),
    [
        (bytes(32), KEY, GENERATION),
        (SEALING_KEY, CacheKey("acc_2", KEY.digest), GENERATION),
        (SEALING_KEY, CacheKey(KEY.scope, "0" * 64), GENERATION),
        (SEALING_KEY, KEY, b"another purged 1"),
    ],
    ids=["sealing key", "account", "question", "generation"],
)
def test_another_key_account_question_or_generation_does_not_open_it(
    sealing_key: bytes, key: CacheKey, generation: bytes
) -> None:
    with pytest.raises(SealBroken):
        open_answer(sealing_key, key, generation, seal_answer(SEALING_KEY, KEY, GENERATION, an_answer()))


def test_sealed_twice_it_looks_different_and_shows_nothing() -> None:
    one, other = (seal_answer(SEALING_KEY, KEY, GENERATION, an_answer(b"a secret" * 4)) for _ in range(2))

    assert one != other
    assert b"secret" not in one
