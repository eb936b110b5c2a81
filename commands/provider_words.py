"""What a provider says of its answer, as the log takes it: no end is too large to be recorded, or to be read."""

import msgspec

from domain.upstream import Usage

MAX_NAME_CHARS = 200
MAX_MESSAGE_CHARS = 1_000
MAX_USAGE_BYTES = 32 * 1024

_NOTHING = msgspec.Raw(b"null")


def name(said: str) -> str:
    return _fit(said, MAX_NAME_CHARS)


def message(said: str) -> str:
    return _fit(said, MAX_MESSAGE_CHARS)


def report(usage: Usage | None) -> msgspec.Raw:
    """Verbatim, or not at all: what counts are its tokens, which stand beside it."""
    return usage.raw if usage and len(usage.raw) <= MAX_USAGE_BYTES else _NOTHING


def _fit(said: str, chars: int) -> str:
    """Databases take no NUL."""
    return said[:chars].replace("\0", "")
