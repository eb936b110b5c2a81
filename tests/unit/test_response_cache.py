"""What is kept of an answer, and which questions may be answered with that of a similar one."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.canonical_json import digest
from domain.ids import AccountId
from domain.pricing import Tokens
from domain.response_cache import (
    LARGEST_ANSWER_BYTES,
    LONGEST_TTL_S,
    CachedAnswer,
    CachePolicy,
    StreamTape,
    answer_of,
    asked,
)
from domain.semantic_cache import SemanticPolicy, SemanticQuestion, is_comparable, read_vector, split_question
from domain.upstream import Reply, ReplyPiece, Usage
from tests.caching import NOON, members_of

TOLD: dict[str, Any] = {"catalogue_model": "gpt-4o", "cost_nanos": 7}
USAGE = Usage(msgspec.Raw(b'{"a": 1}'), Tokens(input=3, output=4))


def question(endpoint: str = "chat.completions", model: str = "m", **members: Any) -> SemanticQuestion | None:
    return split_question(asked(endpoint, model, False, members_of(**members)))  # type: ignore[arg-type]


def chat(*turns: tuple[str, Any], **members: Any) -> SemanticQuestion | None:
    return question(messages=[{"role": role, "content": content} for role, content in turns], **members)


@pytest.mark.parametrize("wrong", [{"ttl_s": 0}, {"ttl_s": LONGEST_TTL_S + 1}, {"ttl_s": 1, "max_bytes": 0}])
def test_a_policy_out_of_bounds_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(msgspec.ValidationError, match="is between"):
        msgspec.convert(wrong, CachePolicy)


@pytest.mark.parametrize("percent", [-1, 101])
def test_a_hit_costs_a_share_of_its_answer(percent: int) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"hit_percent is {percent}; give 0"):
        msgspec.convert({"ttl_s": 60, "hit_percent": percent}, CachePolicy)
    assert CachePolicy(ttl_s=60).hit_percent == 0


def test_what_is_kept_says_who_made_it_and_what_it_cost() -> None:
    tape = StreamTape(1_000)
    tape.add(ReplyPiece(b"data", model="gpt", closing=b"END"))

    plain = answer_of(Reply(b"{}", "gpt", "stop", USAGE, 2), "completions", "openai", NOON, **TOLD)
    streamed = tape.answer("completions", "openai", NOON, **TOLD)

    for kept in (plain, streamed):
        assert kept is not None
        assert (kept.model, kept.catalogue_model, kept.cost_nanos) == ("gpt", "gpt-4o", 7)


def test_an_answer_that_an_earlier_release_kept_can_be_read() -> None:
    kept = answer_of(Reply(b"{}", "gpt", "stop", USAGE, 2), "completions", "openai", NOON, **TOLD)
    members = msgspec.msgpack.decode(msgspec.msgpack.encode(kept))
    del members["catalogue_model"], members["cost_nanos"]

    opened = msgspec.msgpack.decode(msgspec.msgpack.encode(members), type=CachedAnswer)
    assert opened == msgspec.structs.replace(kept, catalogue_model="", cost_nanos=0)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan")])
def test_a_threshold_is_a_similarity(threshold: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        SemanticPolicy(embedding_model="e", threshold=threshold)


def test_answers_are_an_accounts_own_unless_sharing_was_chosen() -> None:
    assert CachePolicy(ttl_s=60).scope_of(AccountId("acc_1")) == "acc_1"
    assert CachePolicy(ttl_s=60, scope="shared").scope_of(AccountId("acc_1")) == "shared"
    assert CachePolicy(ttl_s=60).semantic is None


def test_a_plain_answer_is_kept_with_what_it_used() -> None:
    kept = answer_of(Reply(b"{}", "gpt", "length", USAGE, 2), "completions", "openai", NOON, **TOLD)

    assert (kept.body, kept.is_stream, kept.finish_reason, kept.model) == (b"{}", False, "length", "gpt")
    assert (kept.tokens, kept.usage) == (USAGE.tokens, b'{"a": 1}')


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=8))
def test_a_tape_gives_back_what_passed(parts: list[bytes]) -> None:
    tape = StreamTape(1_000)
    for part in parts:
        tape.add(ReplyPiece(part, model="gpt"))
    tape.add(ReplyPiece(b"", finish_reason="stop", usage=USAGE, closing=b"END"))

    kept = tape.answer("chat.completions", "openai", NOON, **TOLD)

    assert kept is not None
    assert (kept.body, kept.closing, kept.is_stream) == (b"".join(parts), b"END", True)
    assert (kept.model, kept.finish_reason, kept.tokens) == ("gpt", "stop", USAGE.tokens)


@given(st.lists(st.integers(0, 10), max_size=8), st.integers(1, 30))
def test_a_tape_keeps_nothing_beyond_its_bound(sizes: list[int], most: int) -> None:
    tape = StreamTape(most)
    for size in sizes:
        tape.add(ReplyPiece(b"x" * size))
    tape.add(ReplyPiece(b"", closing=b"E"))

    assert (tape.answer("chat.completions", "p", NOON, **TOLD) is not None) == (sum(sizes) + 1 <= most)


def test_a_stream_without_its_closing_is_not_kept() -> None:
    tape = StreamTape(LARGEST_ANSWER_BYTES)
    tape.add(ReplyPiece(b"data: 1\n\n"))

    assert tape.answer("chat.completions", "p", NOON, **TOLD) is None


def test_the_last_turn_is_compared_and_the_rest_must_be_equal() -> None:
    one, other = (chat(("system", "Be brief."), ("user", text), temperature=0) for text in ("Hi there", "Hello there"))

    assert one and other
    assert (one.text, other.text) == ("Hi there", "Hello there")
    assert digest(one.rest) == digest(other.rest)


@pytest.mark.parametrize(
    "differs",
    [
        chat(("system", "Be long."), ("user", "Hi"), temperature=0),
        chat(("user", "Hi"), temperature=0),
        chat(("system", "Be brief."), ("user", "Hi"), temperature=1),
        chat(("system", "Be brief."), ("user", "Hi")),
        chat(("system", "Be brief."), ("user", "Yo"), ("assistant", "?"), ("user", "Hi"), temperature=0),
        question(
            model="n",
            messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            temperature=0,
        ),
        question(
            messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi", "name": "Bo"}],
            temperature=0,
        ),
    ],
)
def test_anything_beside_the_last_text_makes_another_rest(differs: SemanticQuestion | None) -> None:
    usual = chat(("system", "Be brief."), ("user", "Hi"), temperature=0)

    assert usual and differs
    assert digest(usual.rest) != digest(differs.rest)


def test_parts_of_text_are_read_together() -> None:
    split = question("messages", messages=[{"role": "user", "content": [{"type": "text", "text": t} for t in "ab"]}])

    assert split and split.text == "a\nb"


@pytest.mark.parametrize(
    "split",
    [
        chat(("user", [{"type": "image_url", "image_url": {"url": "https://x"}}])),
        chat(("user", [{"type": "image_url", "image_url": {"url": "https://x"}}]), ("user", "what is it?")),
        chat(("user", "Hi"), tools=[{"type": "function"}]),
        chat(("tool", "7"), ("user", "Hi")),
        chat(("user", "Hi"), ("assistant", "Well,")),
        chat(("user", "  ")),
        chat(("user", "x" * 8_001)),
        chat(("user", "half a pair \ud83d")),
        chat(),
        chat(("user", None)),
        question(messages="Hi"),
        question(messages=[3]),
        question(messages=[{"role": "assistant", "content": "x", "tool_calls": []}, {"role": "user", "content": "Hi"}]),
        question("completions", prompt="Hi"),
        question("responses", input="Hi"),
    ],
)
def test_only_chats_of_text_that_end_with_the_user_are_compared(split: SemanticQuestion | None) -> None:
    assert split is None


@pytest.mark.parametrize(
    ("vector", "comparable"),
    [
        ([1.0], True),
        ([0.0, -0.5], True),
        ([], False),
        ([0.0, 0.0], False),
        ([float("nan"), 1.0], False),
        ([float("inf")], False),
        ([1e300], False),
        ([1.0] * 4_097, False),
    ],
)
def test_a_vector_needs_a_direction_to_be_compared(vector: list[float], comparable: bool) -> None:
    assert is_comparable(vector) == comparable


def test_a_vector_is_read_out_of_an_answer_to_one_text() -> None:
    assert read_vector(b'{"data":[{"index":0,"embedding":[1,0.5]}],"model":"e"}') == [1.0, 0.5]
    for unusable in (b'{"data":[]}', b'{"data":[{"embedding":"AAAA"}]}', b"{", b'{"data":[{"embedding":[0]}]}'):
        assert read_vector(unusable) is None
