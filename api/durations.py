"""Durations as Go writes them: `24h`, `1h30m`, `1.5s`, `300ms`."""

import re
from datetime import timedelta
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


def parse_duration(text: str) -> timedelta:
    """Exact to the microsecond, rounded down. Raises ValueError; a bare number has no unit and is refused, except 0."""
    if text == "0":
        return timedelta(0)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("must be a duration with units, such as 24h, 1h30m or 90s")
    nanoseconds = sum(Fraction(number) * _NANOSECONDS[unit] for number, unit in parts)
    try:
        return timedelta(microseconds=int(nanoseconds / 1000))
    except OverflowError:
        raise ValueError("is longer than any clock runs") from None


def format_duration(duration: timedelta) -> str:
    """The way back: `1h30m0s` is written `1h30m`."""
    minutes, seconds = divmod(duration.total_seconds(), 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{value:g}{unit}" for value, unit in parts if value) or "0"


def _duration(value: object) -> timedelta:
    return value if isinstance(value, timedelta) else parse_duration(str(value))


GoDuration = Annotated[timedelta, BeforeValidator(_duration)]
