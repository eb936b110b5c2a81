"""What Anthropic reports as used: its input excludes what was written to and read from the cache."""

from typing import Annotated

import msgspec

from domain.pricing import Tokens
from domain.upstream import Usage

_Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    """Totals below zero or beyond reason are no report; parts are cut to their total."""

    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens_details: _OutputDetails | None = None


_decode = msgspec.json.Decoder(_Usage).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def usage_of(raw: msgspec.Raw) -> Usage | None:
    """None when nothing is reported, or what is reported is not credible."""
    if bytes(raw) in (b"", b"null"):
        return None
    try:
        usage = _decode(bytes(raw).decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    written_5m, written_1h = _cache_writes(usage)
    output = usage.output_tokens or 0
    details = usage.output_tokens_details
    reasoning = _part(details.thinking_tokens if details else None, output)
    tokens = Tokens(
        input=usage.input_tokens or 0,
        cached_input=usage.cache_read_input_tokens or 0,
        cache_write_5m=written_5m,
        cache_write_1h=written_1h,
        output=output - reasoning,
        reasoning=reasoning,
    )
    return Usage(raw.copy(), tokens)


def overlaid(first: msgspec.Raw, later: msgspec.Raw) -> msgspec.Raw:
    """What a stream reported so far, with a later report over it: of each member the last that was not null."""
    members: dict[str, msgspec.Raw] = {}
    for raw in (first, later):
        try:
            reported = _decode_members(bytes(raw).decode())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        members |= {name: value for name, value in reported.items() if name not in members or bytes(value) != b"null"}
    return msgspec.Raw(msgspec.json.encode(members))


def _cache_writes(usage: _Usage) -> tuple[int, int]:
    """Kept for five minutes, and for an hour. What is not said to be kept for an hour is kept for five minutes."""
    split = usage.cache_creation or _CacheCreation()
    total = usage.cache_creation_input_tokens
    if total is None:
        return _part(split.ephemeral_5m_input_tokens), _part(split.ephemeral_1h_input_tokens)
    kept_1h = _part(split.ephemeral_1h_input_tokens, total)
    return total - kept_1h, kept_1h


def _part(count: int | None, total: int = 10**9) -> int:
    return min(max(count or 0, 0), total)
