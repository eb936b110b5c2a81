"""What a chat or text completion cost in tokens, as OpenAI and its likes report it."""

from typing import Annotated

import msgspec

from domain.pricing import Tokens
from domain.upstream import Usage


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


_Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class _Usage(msgspec.Struct):
    """Totals below zero or beyond reason are no report; parts are cut to their total."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


_decode_usage = msgspec.json.Decoder(_Usage).decode
_NO_INPUT_DETAILS = _InputDetails()
_NO_OUTPUT_DETAILS = _OutputDetails()


def usage_of(raw: msgspec.Raw) -> Usage | None:
    """OpenAI counts cached, cache-writing, audio and image input inside `prompt_tokens`, reasoning and audio inside
    `completion_tokens`. xAI counts reasoning beside them, which shows in `total_tokens`.

    None for a null, a missing or an impossible report. Text that is not UTF-8 would spoil whatever keeps the report.
    """
    if not raw or bytes(raw) == b"null":
        return None
    try:
        bytes(raw).decode()
        usage = _decode_usage(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if usage.prompt_tokens is None and usage.completion_tokens is None:
        return None
    return Usage(raw.copy(), _classes(usage))


def _classes(usage: _Usage) -> Tokens:
    inputs = usage.prompt_tokens_details or _NO_INPUT_DETAILS
    outputs = usage.completion_tokens_details or _NO_OUTPUT_DETAILS
    prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
    if outputs.reasoning_tokens and usage.total_tokens == prompt + completion + outputs.reasoning_tokens:
        completion += outputs.reasoning_tokens
    cached, written, audio_in, image = _parts(
        prompt, inputs.cached_tokens, inputs.cache_write_tokens, inputs.audio_tokens, inputs.image_tokens
    )
    reasoning, audio_out = _parts(completion, outputs.reasoning_tokens, outputs.audio_tokens)
    return Tokens(
        input=prompt - cached - written - audio_in - image,
        cached_input=cached,
        cache_write_5m=written,
        audio_input=audio_in,
        image_input=image,
        output=completion - reasoning - audio_out,
        reasoning=reasoning,
        audio_output=audio_out,
    )


def _parts(total: int, *counts: int | None) -> list[int]:
    """Parts of a total, together never more than it."""
    parts: list[int] = []
    for count in counts:
        part = 0 if count is None or count < 0 else count if count < total else total
        total -= part
        parts.append(part)
    return parts
