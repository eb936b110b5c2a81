"""Money is integer nano-USD: 1 USD = 1,000,000,000. No float, ever."""

from decimal import Decimal
from fractions import Fraction

NANOS_PER_USD = 1_000_000_000
PER_MILLION = 1_000_000
LONGEST_AMOUNT = 100
"""Digits before the point; more is no amount but an attempt to keep us busy."""


def usd(nanos: int) -> str:
    """The exact decimal string, without trailing zeros beyond cents: `0.00125`, `12.50`."""
    whole, fraction = divmod(abs(nanos), NANOS_PER_USD)
    digits = f"{fraction:09d}".rstrip("0").ljust(2, "0") if fraction else "00"
    return f"{'-' if nanos < 0 else ''}{whole}.{digits}"


def nanos_from_usd(amount: str | Decimal) -> int:
    """Exact; raises ValueError below one nano-USD, and for what is no amount."""
    exact = Decimal(amount)
    if not exact.is_finite() or abs(exact.adjusted()) > LONGEST_AMOUNT:
        raise ValueError(f"{amount} is no amount in USD")
    scaled = Fraction(exact) * NANOS_PER_USD
    if scaled.denominator != 1:
        raise ValueError(f"{amount} USD is finer than one nano-USD")
    return scaled.numerator
