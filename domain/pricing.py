"""Token classes and dated prices. Rates are nano-USD per million tokens of a class."""

from datetime import datetime

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
    """One rate per token class; `None` falls back as `rate_of` says."""

    input: int = 0
    output: int = 0
    cached_input: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None

    def rate_of(self, token_class: str) -> int:
        """The class's own rate, else the plain rate of its direction."""
        own = getattr(self, token_class)
        if own is not None:
            return own
        return self.output if token_class in OUTPUT_CLASSES else self.input


OUTPUT_CLASSES = frozenset({"output", "reasoning", "audio_output"})
TOKEN_CLASSES = Tokens.__struct_fields__
INPUT_CLASSES = tuple(name for name in TOKEN_CLASSES if name not in OUTPUT_CLASSES)


class Price(msgspec.Struct, frozen=True):
    """What a model costs from `valid_from` on, as known since `known_since`. A charge pins `price_id`."""

    price_id: str
    valid_from: datetime
    known_since: datetime
    rates: Rates


def cost_nanos(tokens: Tokens, rates: Rates) -> int:
    """The price of one request line, rounded once, half up."""
    total = tokens.input * rates.input + tokens.output * rates.output
    if tokens.input + tokens.output != tokens.total:
        total = sum(getattr(tokens, name) * rates.rate_of(name) for name in TOKEN_CLASSES)
    return (total + PER_MILLION // 2) // PER_MILLION


def ceiling_nanos(input_tokens: int, output_tokens: int, rates: Rates) -> int:
    """The most that a request of at most these sizes can cost, whatever class its tokens fall in."""
    dearest_input = max(rates.rate_of(name) for name in INPUT_CLASSES)
    dearest_output = max(rates.rate_of(name) for name in OUTPUT_CLASSES)
    total = input_tokens * dearest_input + output_tokens * dearest_output
    return -(-total // PER_MILLION)


def price_at(prices: tuple[Price, ...], at: datetime) -> Price | None:
    """The price in force at `at`: the latest `valid_from` not after it, and of those the latest known."""
    in_force = [price for price in prices if price.valid_from <= at]
    return max(in_force, key=lambda price: (price.valid_from, price.known_since), default=None)
