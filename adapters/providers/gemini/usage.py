"""What Gemini says that it counted.

The prompt includes what was cached and excludes what built-in tools put in; thoughts are not among the candidates'
tokens. In a stream every event has the counts so far, and now and then one without a count that an earlier one had.
"""

from typing import Annotated

import msgspec

from adapters.providers.vocabulary import UNREADABLE
from domain.pricing import Tokens
from domain.upstream import Usage

MAX_COUNT = 10**9
"""More is no report."""
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


class _Modality(msgspec.Struct, rename="camel"):
    modality: str | int | None = None
    token_count: Count | None = None


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: Count | None = None
    cached_content_token_count: Count | None = None
    tool_use_prompt_token_count: Count | None = None
    candidates_token_count: Count | None = None
    thoughts_token_count: Count | None = None
    total_token_count: Count | None = None
    prompt_tokens_details: list[_Modality] | None = None
    cache_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None


_FIELDS = _Usage.__struct_fields__
_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class UsageSoFar:
    """Of one answer."""

    def __init__(self) -> None:
        self._counts = _Usage()
        self._raw = msgspec.Raw(b"{}")

    def take(self, raw: msgspec.Raw) -> Usage | None:
        """`raw` is a `usageMetadata`; what it lacks is kept from before. None when nothing was reported."""
        if not raw or bytes(raw) == b"null":
            return None
        try:
            str(raw, "utf-8")
            counts = _decode_usage(raw)
        except UNREADABLE:
            return None
        self._raw = self._completed(counts, raw)
        self._counts = counts
        if counts.prompt_token_count is None and counts.candidates_token_count is None:
            return None
        return Usage(self._raw, _tokens(counts))

    def _completed(self, counts: _Usage, raw: msgspec.Raw) -> msgspec.Raw:
        """Fills `counts` up; verbatim, unless something was missing."""
        missing = False
        for name in _FIELDS:
            if getattr(counts, name) is None and (before := getattr(self._counts, name)) is not None:
                setattr(counts, name, before)
                missing = True
        if not missing:
            return raw.copy()
        return msgspec.Raw(msgspec.json.encode(_decode_members(self._raw) | _decode_members(raw)))


def _tokens(usage: _Usage) -> Tokens:
    prompt = usage.prompt_token_count or 0
    tools = usage.tool_use_prompt_token_count or 0
    thoughts = usage.thoughts_token_count or 0
    candidates = usage.candidates_token_count
    if candidates is None:
        candidates = max(0, (usage.total_token_count or 0) - prompt - tools - thoughts)
    cached = min(usage.cached_content_token_count or 0, prompt)
    fresh = prompt - cached
    audio = min(_fresh(usage, "AUDIO"), fresh)
    image = min(_fresh(usage, "IMAGE"), fresh - audio)
    audio_output = min(_of(usage.candidates_tokens_details, "AUDIO"), candidates)
    return Tokens(
        input=fresh - audio - image + tools,
        cached_input=cached,
        audio_input=audio,
        image_input=image,
        output=candidates - audio_output,
        audio_output=audio_output,
        reasoning=thoughts,
    )


def _fresh(usage: _Usage, modality: str) -> int:
    return max(0, _of(usage.prompt_tokens_details, modality) - _of(usage.cache_tokens_details, modality))


def _of(details: list[_Modality] | None, modality: str) -> int:
    if not details:
        return 0
    return sum(one.token_count or 0 for one in details if one.modality == modality)
