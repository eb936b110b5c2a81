"""Positions and cursors as callers write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput
from projections.paging import Mark, Page, after, checked_limit, page
from projections.positions import format_positions, parse_positions


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("REQ:12", {"REQ": 12}),
        ("EVT:5,REQ:12", {"EVT": 5, "REQ": 12}),
        (" EVT:5 , REQ:0", {"EVT": 5, "REQ": 0}),
        ("REQ:3,REQ:9", {"REQ": 9}),
    ],
)
def test_positions_are_read(text: str, positions: dict[str, int]) -> None:
    assert parse_positions(text) == positions


@pytest.mark.parametrize(
    "text", ["", "REQ", "REQ:", "REQ:-1", "req:1", "TMR:1", "REQ:1;EVT:2", "REQ:٣", "REQ:" + "9" * 19]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_positions(text)

    assert refusal.value.field == "min_position"


@given(st.dictionaries(st.sampled_from(["EVT", "REQ"]), st.integers(0, 10**17), min_size=1))
def test_positions_survive_being_written(positions: dict[str, int]) -> None:
    assert parse_positions(format_positions(positions)) == positions


def test_a_cursor_begins_where_the_last_page_ended() -> None:
    def mark(number: int) -> Mark:
        return Mark(number, f"r{number}")

    first: Page[int] = page([9, 8, 7], 2, mark)

    assert first.rows == [9, 8]
    assert first.next_cursor is not None
    assert after(first.next_cursor) == Mark(8, "r8")


def test_the_last_page_has_no_cursor() -> None:
    last: Page[int] = page([9, 8], 2, Mark)

    assert last.next_cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "!!", "WzEsMiwzXQ", "bnVsbA", "é"])
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput):
        after(cursor)


@pytest.mark.parametrize("limit", [0, -1, 201])
def test_a_page_has_bounds(limit: int) -> None:
    with pytest.raises(InvalidInput):
        checked_limit(limit)
