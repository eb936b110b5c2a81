"""How many streams a key may have open, and that all of them are given back."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.open_streams import OpenStreams
from domain.errors import Busy


def test_one_more_than_a_key_may_have_is_refused_and_nobody_elses() -> None:
    streams = OpenStreams(per_key=2)
    streams.hold("a")
    streams.hold("a")

    with pytest.raises(Busy, match="This key has 2 streams open here"):
        streams.hold("a")
    streams.hold("b")


def test_the_place_of_one_that_ended_is_free() -> None:
    streams = OpenStreams(per_key=1)
    streams.hold("a")
    streams.give_back("a")

    streams.hold("a")

    assert streams["a"] == 1


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_no_key_ever_has_more_and_nothing_is_remembered_of_those_that_have_none(
    per_key: int, steps: list[tuple[str, bool]]
) -> None:
    streams, open_of = OpenStreams(per_key), Counter[str]()
    for key, opens in steps:
        if not opens:
            if open_of[key]:
                streams.give_back(key)
                open_of[key] -= 1
        elif open_of[key] < per_key:
            streams.hold(key)
            open_of[key] += 1
        else:
            with pytest.raises(Busy):
                streams.hold(key)

    assert {key: streams[key] for key in "abc"} == {key: open_of[key] for key in "abc"}
    assert len(streams) == sum(count > 0 for count in open_of.values())
