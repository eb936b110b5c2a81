"""What genai-prices charges for our tokens, in nano-USD: what our own prices are held against."""

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from genai_prices import Usage
from genai_prices.types import ModelInfo, Provider

from domain.pricing import Tokens


def usage_of(tokens: Tokens) -> Usage:
    """The library wants totals, and within them the parts; what is not reported is told as 0."""
    return Usage(
        input_tokens=tokens.prompt,
        output_tokens=tokens.completion,
        cache_read_tokens=tokens.cached_input,
        cache_write_tokens=tokens.cache_write_5m + tokens.cache_write_1h,
        cache_write_5m_tokens=tokens.cache_write_5m,
        cache_write_1h_tokens=tokens.cache_write_1h,
        input_audio_tokens=tokens.audio_input,
        output_audio_tokens=tokens.audio_output,
        input_image_tokens=tokens.image_input,
        output_reasoning_tokens=tokens.reasoning,
        input_video_tokens=0,
        cache_audio_read_tokens=0,
        cache_image_read_tokens=0,
    )


def genai_nanos(model: ModelInfo, provider: Provider, tokens: Tokens, at: datetime, context: dict[str, str]) -> int:
    price = model.calc_price(usage_of(tokens), provider, genai_request_timestamp=at, price_context=context)
    return int((price.total_price * 10**9).quantize(Decimal(1), ROUND_HALF_UP))
