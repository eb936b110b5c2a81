"""How Cohere says that something failed: behind an error status, and inside an answer with a good one."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from adapters.providers.vocabulary import ErrorInAnswer, VendorError

T = TypeVar("T")

UNREADABLE = "Cohere's answer is not readable."
FAILURES = {"ERROR": "Cohere failed to make an answer.", "TIMEOUT": "Cohere did not finish its answer in time."}
"""Finish reasons that finish nothing."""


class _Error(msgspec.Struct):
    message: str | None = None
    error: str | None = None
    error_type: str | None = None


_decode_error = msgspec.json.Decoder(_Error).decode


def read_error(body: bytes) -> VendorError | None:
    """None when it says nothing: its edge answers in HTML."""
    try:
        error = _decode_error(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    message = error.message or error.error
    return VendorError(message=message, error_type=error.error_type) if message else None


def decoded(body: bytes, decoder: Callable[[bytes], T]) -> T:
    """Raises ErrorInAnswer, also for what is not UTF-8 in a place that nobody looks at."""
    try:
        str(body, "utf-8")
        return decoder(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise error_in(body) from None


def error_in(body: bytes) -> ErrorInAnswer:
    """An answer that is none, in Cohere's words if it has any."""
    error = read_error(body)
    return ErrorInAnswer(error.message, error_type=error.error_type) if error else ErrorInAnswer(UNREADABLE)


def failure_of(finish_reason: str | None, error: str | None, error_type: str | None) -> ErrorInAnswer | None:
    """Cohere ends an answer that failed like any other, with a good status."""
    if not error and finish_reason not in FAILURES:
        return None
    message = error or FAILURES.get(finish_reason or "", FAILURES["ERROR"])
    return ErrorInAnswer(message, error_type=error_type or finish_reason)
