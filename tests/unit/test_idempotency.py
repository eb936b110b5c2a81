"""Keys, fingerprints and the tape: what is accepted, what counts as the same request, what is kept."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.idempotency import AnswerTape, AnswerTooLarge, KeptAnswer, fingerprint, idempotency_key

VISIBLE = [chr(code) for code in range(0x21, 0x7F)]
ROUTE = ("POST", "/v1/chat/completions")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def shuffled(value: Any) -> Any:
    """The same, its members in another order."""
    if isinstance(value, dict):
        return {name: shuffled(member) for name, member in reversed(value.items())}
    return [shuffled(each) for each in value] if isinstance(value, list) else value


@given(st.text(VISIBLE, min_size=1, max_size=255))
def test_a_key_is_taken_verbatim(text: str) -> None:
    assert idempotency_key(text) == text


@given(
    st.text(VISIBLE, max_size=20),
    st.characters().filter(lambda char: char not in VISIBLE),
    st.text(VISIBLE, max_size=9),
)
def test_a_key_with_anything_but_visible_ascii_is_refused(before: str, odd: str, after: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        idempotency_key(before + odd + after)

    assert refusal.value.code == "invalid_idempotency_key"


@pytest.mark.parametrize("text", ["", "x" * 256, "two words", "tail\n"])
def test_a_key_that_is_empty_too_long_or_spaced_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        idempotency_key(text)


@given(json_values, st.sampled_from([None, 0, 3]))
def test_spaces_and_the_order_of_members_make_no_other_request(value: Any, indent: int | None) -> None:
    written_anew = json.dumps(shuffled(value), indent=indent).encode()

    assert fingerprint(*ROUTE, written_anew) == fingerprint(*ROUTE, json.dumps(value).encode())


@given(json_values, json_values)
def test_json_that_says_something_else_is_another_request(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)

    assert (fingerprint(*ROUTE, json.dumps(one).encode()) == fingerprint(*ROUTE, json.dumps(other).encode())) == same


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_bytes_that_are_no_json_count_as_they_are(one: bytes, other: bytes) -> None:
    one, other = b"\xff" + one, b"\xff" + other

    assert (fingerprint(*ROUTE, one) == fingerprint(*ROUTE, other)) == (one == other)


@given(st.binary())
def test_every_body_has_a_fingerprint(body: bytes) -> None:
    assert len(fingerprint(*ROUTE, body)) == 64


@pytest.mark.parametrize("body", [b"", b'"\\ud800"', b"[" * 100_000, b'"\xff"', b"1e999999", b"9" * 5_000])
def test_an_odd_body_has_one_too(body: bytes) -> None:
    assert fingerprint(*ROUTE, body) == fingerprint(*ROUTE, body) != fingerprint(*ROUTE, b"{}")


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_method_and_path_are_part_of_the_request(method: str, path: str, other_method: str, other_path: str) -> None:
    same = (method, path) == (other_method, other_path)

    assert (fingerprint(method, path, b"{}") == fingerprint(other_method, other_path, b"{}")) == same


def test_numbers_count_as_they_are_written() -> None:
    assert fingerprint(*ROUTE, b"0.1") != fingerprint(*ROUTE, b"0.10000000000000000001")
    assert fingerprint(*ROUTE, b"1") != fingerprint(*ROUTE, b"1.0") != fingerprint(*ROUTE, b'"1.0"')


@given(st.lists(st.binary(max_size=8), max_size=12), st.integers(0, 40))
def test_the_tape_holds_all_or_nothing(pieces: list[bytes], longest: int) -> None:
    tape, whole = AnswerTape(longest), b"".join(pieces)
    for piece in pieces:
        tape.add(piece)

    expected = KeptAnswer(200, ((b"a", b"b"),), whole, True) if len(whole) <= longest else AnswerTooLarge()
    assert tape.answer(200, [(b"a", b"b")], is_stream=True) == expected


def test_an_answer_does_not_show_its_body() -> None:
    assert repr(KeptAnswer(200, ((b"set-cookie", b"secret"),), b"secret")) == "KeptAnswer(200, 6 bytes)"
