"""Requests that mean the same have the same key, and no others have."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.canonical_json import Ambiguous, digest, meaning
from domain.response_cache import SHARED, cache_key
from domain.upstream import Endpoint
from tests.caching import key_of, members_of

whole_numbers = st.integers(-(2**70), 2**70) | st.integers(-3, 3)
fractions = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | whole_numbers | fractions | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def means_the_same(one: Any, other: Any) -> bool:
    """By definition: types, then parts. A number is what it counts, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(means_the_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(means_the_same, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return isinstance(one, str) and isinstance(other, str) and one == other


def spelled(value: Any, draw: st.DataObject) -> str:
    """One of the many ways to write it."""
    gap = draw.draw(st.sampled_from(["", " ", "\n\t"]))
    if isinstance(value, dict):
        names = draw.draw(st.permutations(list(value)))
        return (
            "{"
            + f"{gap},".join(f"{gap}{spelled(name, draw)}{gap}:{spelled(value[name], draw)}" for name in names)
            + gap
            + "}"
        )
    if isinstance(value, list):
        return f"[{gap}" + f",{gap}".join(spelled(item, draw) for item in value) + "]"
    if isinstance(value, str):
        escaped = json.dumps(value, ensure_ascii=draw.draw(st.booleans()))
        return escaped.replace("/", "\\/") if draw.draw(st.booleans()) else escaped
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53:
        return draw.draw(st.sampled_from([str(value), f"{value}.0", f"{value}e0", f"{value}.00E+0"]))
    return json.dumps(value)


@given(json_values, st.data())
def test_however_it_is_written_it_is_the_same(value: Any, draw: st.DataObject) -> None:
    one, other = (meaning(spelled(value, draw).encode()) for _ in range(2))

    assert digest(one) == digest(other)


@given(json_values, json_values)
def test_digests_are_equal_exactly_when_meanings_are(one: Any, other: Any) -> None:
    digests = [digest(meaning(json.dumps(value).encode())) for value in (one, other)]

    # beyond 2**53 a double stands for many integers: there the ways of writing count
    if all(abs(number) <= 2**53 for value in (one, other) for number in numbers_in(value)):
        assert (digests[0] == digests[1]) == means_the_same(one, other)
    elif digests[0] == digests[1]:
        assert means_the_same(one, other)


@given(json_values, st.data())
def test_a_change_anywhere_inside_makes_another_digest(value: Any, draw: st.DataObject) -> None:
    wrapped = {"outer": [value]}
    changed = {"outer": [draw.draw(json_values.filter(lambda other: not means_the_same(value, other)))]}

    assert digest(meaning(json.dumps(wrapped).encode())) != digest(meaning(json.dumps(changed).encode()))


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers_in(inner)]
    if isinstance(value, list):
        return [number for inner in value for number in numbers_in(inner)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize(
    "text",
    [
        b'{"role":"user","role":"system"}',
        b"1e400",
        b"NaN",
        b"-Infinity",
        b"{",
        b"",
        b"\xff",
        b"[" * 100_000 + b"]" * 100_000,
        b"9" * 5_000,
    ],
)
def test_what_readers_may_take_differently_has_no_meaning(text: bytes) -> None:
    with pytest.raises(Ambiguous):
        meaning(text)
    assert cache_key("acc_1", "chat.completions", "m", False, {"messages": msgspec.Raw(text)}) is None


@given(st.dictionaries(st.sampled_from(["messages", "temperature", "seed", "n", "tools", "x"]), json_values))
def test_the_order_of_members_does_not_matter(members: dict[str, Any]) -> None:
    assert key_of(**members) == key_of(**dict(reversed(members.items())))


IGNORED = [
    {"user": "u1"},
    {"safety_identifier": "s"},
    {"metadata": {"a": "b"}},
    {"prompt_cache_key": "k"},
    {"prompt_cache_retention": "24h"},
    {"prompt_cache_options": {"ttl": "30m"}},
    {"drop_params": True},
]


@pytest.mark.parametrize("said", IGNORED)
@pytest.mark.parametrize("endpoint", ["chat.completions", "completions", "embeddings", "messages"])
def test_who_asks_and_how_a_cache_is_steered_changes_no_answer(endpoint: Endpoint, said: dict[str, Any]) -> None:
    assert key_of(endpoint=endpoint, input="x", **said) == key_of(endpoint=endpoint, input="x")


def test_the_members_model_and_stream_are_counted_once() -> None:
    plain = cache_key("a", "completions", "m", False, members_of(prompt="x"))

    assert cache_key("a", "completions", "m", False, members_of(prompt="x", model="alias", stream=False)) == plain


@pytest.mark.parametrize("said", [said for said in IGNORED if "drop_params" not in said])
def test_responses_repeat_who_asked_so_there_it_counts(said: dict[str, Any]) -> None:
    assert key_of(endpoint="responses", input="x", **said) != key_of(endpoint="responses", input="x")


@pytest.mark.parametrize(
    "said",
    [
        {"temperature": 0.5},
        {"seed": 7},
        {"n": 2},
        {"tools": []},
        {"store": True},
        {"service_tier": "flex"},
        {"logit_bias": {"1": 1}},
        {"no_such_member": None},
    ],
)
def test_anything_else_counts(said: dict[str, Any]) -> None:
    assert key_of(messages=[], **said) != key_of(messages=[])


def test_scope_endpoint_model_and_stream_count() -> None:
    keys = {
        key_of(prompt="x"),
        key_of("acc_2", prompt="x"),
        key_of(SHARED, prompt="x"),
        key_of(endpoint="completions", prompt="x"),
        key_of(model="other", prompt="x"),
        key_of(stream=True, prompt="x"),
    }

    assert len({key.digest for key in keys}) == 6


def test_a_stream_with_a_usage_event_is_another_answer() -> None:
    plain, with_usage, without = (
        key_of(stream=True, stream_options=options, prompt="x")
        for options in ({}, {"include_usage": True}, {"include_usage": False})
    )

    assert plain == without == key_of(stream=True, prompt="x")
    assert plain != with_usage


@pytest.mark.parametrize("said", [{"conversation": "c"}, {"previous_response_id": "r"}, {"background": True}])
def test_what_hangs_on_a_providers_state_is_not_cached(said: dict[str, Any]) -> None:
    assert cache_key("a", "responses", "m", False, members_of(input="x", **said)) is None


def test_state_that_is_declined_hinders_nothing() -> None:
    assert cache_key("a", "responses", "m", False, members_of(input="x", background=False)) is not None
