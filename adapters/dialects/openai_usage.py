"""Usage as OpenAI's completions report it: totals, and what of them was cached, reasoning or audio."""

import msgspec

from domain.pricing import Tokens


class PromptTokensDetails(msgspec.Struct, frozen=True):
    cached_tokens: int
    audio_tokens: int
    cache_write_tokens: int


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int
    audio_tokens: int


class CompletionUsage(msgspec.Struct, frozen=True):
    """`prompt_tokens` counts every class of input, `completion_tokens` every class of output."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


def completion_usage(tokens: Tokens) -> CompletionUsage:
    return CompletionUsage(
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        total_tokens=tokens.total,
        prompt_tokens_details=PromptTokensDetails(
            cached_tokens=tokens.cached_input,
            audio_tokens=tokens.audio_input,
            cache_write_tokens=tokens.cache_write_5m + tokens.cache_write_1h,
        ),
        completion_tokens_details=CompletionTokensDetails(
            reasoning_tokens=tokens.reasoning, audio_tokens=tokens.audio_output
        ),
    )
