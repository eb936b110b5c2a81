"""How Anthropic says that something failed: as the body of an error status, in a good answer, in a stream."""

import msgspec

from adapters.providers.vocabulary import VendorError


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None
    details: msgspec.Raw = msgspec.Raw()


class _Body(msgspec.Struct):
    error: _Error


class _Details(msgspec.Struct):
    error_code: str | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_details = msgspec.json.Decoder(_Details).decode


def read_error(body: bytes) -> VendorError | None:
    """None when the body is not an error in Anthropic's words."""
    try:
        error = _decode_body(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if error.message is None and error.type is None:
        return None
    return VendorError(message=error.message or error.type or "", error_type=error.type, code=_code(error.details))


def _code(details: msgspec.Raw) -> str | None:
    try:
        return _decode_details(details).error_code
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
