from datetime import timedelta

import pytest

from api.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("24h", timedelta(hours=24)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("90s", timedelta(seconds=90)),
        ("1.5h", timedelta(minutes=90)),
        (".5s", timedelta(milliseconds=500)),
        ("1h2m3s4ms5us", timedelta(hours=1, minutes=2, seconds=3, milliseconds=4, microseconds=5)),
        ("5µs", timedelta(microseconds=5)),
        ("1999ns", timedelta(microseconds=1)),
        ("0", timedelta(0)),
        ("0s", timedelta(0)),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "24", "1.5", "h", "24 h", "24h ", "-1h", "1d", "1h30", "1h,30m", "1..5s", "abc"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="24h"):
        parse_duration(text)


def test_a_duration_beyond_all_clocks_is_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        parse_duration("99999999999999999h")


@pytest.mark.parametrize("text", ["24h", "1h30m", "90h", "1.5s", "2m", "0"])
def test_a_duration_is_shown_as_it_is_written(text: str) -> None:
    assert format_duration(parse_duration(text)) == text
