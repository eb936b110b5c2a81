"""How Gemini says that something went wrong: with an error status, or inside of an answer."""

import re

import msgspec

from adapters.providers.vocabulary import UNREADABLE, ErrorInAnswer, VendorError

_DELAY = re.compile(r"(\d{1,9}(?:\.\d+)?)s")


class _Detail(msgspec.Struct, rename="camel"):
    """Of an `ErrorInfo` its reason, of a `RetryInfo` its delay (`30s`)."""

    reason: str | None = None
    retry_delay: str | None = None


class _Error(msgspec.Struct):
    message: str | None = None
    status: str | None = None
    details: msgspec.Raw = msgspec.Raw()


class _Body(msgspec.Struct):
    error: _Error | None = None


_decode_body = msgspec.json.Decoder(_Body | list[_Body]).decode
_decode_details = msgspec.json.Decoder(list[_Detail] | None).decode


def read_error(body: bytes) -> VendorError | None:
    """None when it is no error of Gemini's. `code` is the finer reason, where there is one."""
    try:
        read = _decode_body(body)
    except UNREADABLE:
        return None
    bodies = read if isinstance(read, list) else [read]
    error = next((one.error for one in bodies if one.error is not None), None)
    if error is None:
        return None
    details = _details(error.details)
    reason = next((detail.reason for detail in details if detail.reason), None)
    delays = (_DELAY.fullmatch(detail.retry_delay) for detail in details if detail.retry_delay)
    return VendorError(
        message=error.message or error.status or "Gemini gave no reason.",
        error_type=error.status,
        code=reason or error.status,
        retry_after_s=next((float(delay[1]) for delay in delays if delay), None),
    )


def error_in_answer(body: bytes) -> ErrorInAnswer:
    """For an answer that is an error, or not readable."""
    error = read_error(body)
    if error is None:
        return ErrorInAnswer("The provider's answer is not one of Gemini's.")
    return ErrorInAnswer(error.message, error_type=error.error_type, code=error.code)


def _details(raw: msgspec.Raw) -> list[_Detail]:
    try:
        return _decode_details(raw) or [] if raw else []
    except UNREADABLE:
        return []
