"""Token classes and dated prices. Rates are nano-USD per million tokens of a class."""

from datetime import datetime
from functools import lru_cache

import msgspec

from domain.money import PER_MILLION


class Tokens(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Disjoint classes: a token is counted in exactly one of them."""

    input: int = 0
    cached_input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0

    @property
    def prompt(self) -> int:
        return (
            self.input
            + self.cached_input
            + self.cache_write_5m
            + self.cache_write_1h
            + self.audio_input
            + self.image_input
        )

    @property
    def completion(self) -> int:
        return self.output + self.reasoning + self.audio_output

    @property
    def total(self) -> int:
        return self.prompt + self.completion


class Rates(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rate per token class; `None` falls back as `rate_of` says. `above` are the tiers of longer prompts, the
    lowest first."""

    input: int = 0
    output: int = 0
    cached_input: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    above: "tuple[Tier, ...]" = ()

    def rate_of(self, token_class: str) -> int:
        """The class's own rate, else the plain rate of its direction."""
        own = getattr(self, token_class)
        if own is not None:
            return own
        return self.output if token_class in OUTPUT_CLASSES else self.input

    def for_prompt(self, prompt_tokens: int) -> "Rates":
        """Those that a whole request with such a prompt is charged at: of the tiers it exceeds, the highest."""
        for tier in reversed(self.above):
            if prompt_tokens > tier.above_prompt_tokens:
                return tier.rates
        return self


class Tier(msgspec.Struct, frozen=True):
    """Holds for every token of a request, those of the answer too, once its whole prompt, what was cached included,
    has more tokens than this."""

    above_prompt_tokens: int
    rates: Rates


OUTPUT_CLASSES = frozenset({"output", "reasoning", "audio_output"})
TOKEN_CLASSES = Tokens.__struct_fields__
INPUT_CLASSES = tuple(name for name in TOKEN_CLASSES if name not in OUTPUT_CLASSES)


class Price(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model costs from `valid_from` on, as known since `known_since`. A charge pins `price_id`.

    `batch` is what its provider asks for work that may wait; None where there is no such offer.
    """

    price_id: str
    valid_from: datetime
    known_since: datetime
    rates: Rates
    batch: Rates | None = None


def cost_nanos(tokens: Tokens, rates: Rates) -> int:
    """The price of one request line, rounded once, half up."""
    if rates.above:
        rates = rates.for_prompt(tokens.prompt)
    total = tokens.input * rates.input + tokens.output * rates.output
    if tokens.input + tokens.output != tokens.total:
        total = sum(getattr(tokens, name) * rates.rate_of(name) for name in TOKEN_CLASSES)
    return (total + PER_MILLION // 2) // PER_MILLION


def ceiling_nanos(input_tokens: int, output_tokens: int, rates: Rates) -> int:
    """The most that a request of at most these sizes can cost, whatever class its tokens fall in."""
    dearest_input, dearest_output = _dearest_rates(rates)
    total = input_tokens * dearest_input + output_tokens * dearest_output
    for tier in rates.above:
        if input_tokens > tier.above_prompt_tokens:
            dearest_input, dearest_output = _dearest_rates(tier.rates)
            total = max(total, input_tokens * dearest_input + output_tokens * dearest_output)
    return -(-total // PER_MILLION)


@lru_cache(maxsize=4_096)
def _dearest_rates(rates: Rates) -> tuple[int, int]:
    return max(map(rates.rate_of, INPUT_CLASSES)), max(map(rates.rate_of, OUTPUT_CLASSES))


def price_at(prices: tuple[Price, ...], at: datetime) -> Price | None:
    """The price in force at `at`: the latest `valid_from` not after it, and of those the latest known."""
    in_force = [price for price in prices if price.valid_from <= at]
    return max(in_force, key=lambda price: (price.valid_from, price.known_since), default=None)
