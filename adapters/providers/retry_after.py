"""How long a provider wants to be left alone, as its headers say it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_S = 86_400.0
"""More is no time that anybody waits."""
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?")


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """`retry-after-ms`, else `retry-after` in seconds or as a date. None where there is no time in it; 0 for a date
    that has passed."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return min(milliseconds / 1000, LONGEST_S)
    said = headers.get("retry-after", "")
    seconds = _number(said)
    if seconds is None:
        seconds = _until(said, now)
    return None if seconds is None else min(seconds, LONGEST_S)


def _number(said: str) -> float | None:
    return float(said) if _NUMBER.fullmatch(said.strip()) else None


def _until(said: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(said)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
