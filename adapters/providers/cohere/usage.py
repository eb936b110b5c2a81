"""What Cohere reports as used: the same object in a chat's `usage` and in an embedding's `meta`.

Cohere bills `billed_units`: what was said, without the template that it puts around it. `tokens` and `cached_tokens`
count the model's whole input, template and all (cached can exceed what is billed), and a cached token is billed like
any other. So what is billed is all `input` and `output`; only where nothing is billed `tokens` stands for it, with
`cached_tokens` as the part of its input that they are.
"""

from typing import Annotated, TypeAlias

import msgspec

from domain.pricing import Tokens
from domain.upstream import Usage

_LARGEST = 10**9
_Count: TypeAlias = (
    Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)] | Annotated[float, msgspec.Meta(ge=0, le=_LARGEST)] | None
)
"""Cohere's schema says number; what is no whole number is no count."""


class _Counts(msgspec.Struct):
    input_tokens: _Count = None
    output_tokens: _Count = None

    @property
    def is_report(self) -> bool:
        return self.input_tokens is not None or self.output_tokens is not None


class _Usage(msgspec.Struct):
    billed_units: _Counts | None = None
    tokens: _Counts | None = None
    cached_tokens: float | None = None


_decode = msgspec.json.Decoder(_Usage).decode


def usage_of(raw: msgspec.Raw) -> Usage | None:
    """None when nothing is reported, or what is reported is not credible."""
    tokens = _tokens(raw)
    return Usage(raw.copy(), tokens) if tokens else None


def _tokens(raw: msgspec.Raw) -> Tokens | None:
    if bytes(raw) in (b"", b"null"):
        return None
    try:
        usage = _decode(raw)
        if usage.billed_units and usage.billed_units.is_report:
            return Tokens(
                input=_whole(usage.billed_units.input_tokens), output=_whole(usage.billed_units.output_tokens)
            )
        if not usage.tokens or not usage.tokens.is_report:
            return None
        total = _whole(usage.tokens.input_tokens)
        cached = min(max(int(usage.cached_tokens or 0), 0), total)
        return Tokens(input=total - cached, cached_input=cached, output=_whole(usage.tokens.output_tokens))
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return None


def _whole(count: float | None) -> int:
    """Raises ValueError for half a token."""
    whole = int(count or 0)
    if whole != (count or 0):
        raise ValueError(count)
    return whole
