"""Money is integer nano-USD: 1 USD = 1,000,000,000. No float, ever."""

from decimal import Decimal

NANOS_PER_USD = 1_000_000_000
PER_MILLION = 1_000_000


def usd(nanos: int) -> str:
    """The exact decimal string, without trailing zeros beyond cents: `0.00125`, `12.50`."""
    sign = "-" if nanos < 0 else ""
    whole, fraction = divmod(abs(nanos), NANOS_PER_USD)
    digits = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{digits}"


def nanos_from_usd(amount: str | Decimal) -> int:
    """Exact; raises ValueError below one nano-USD."""
    scaled = Decimal(amount) * NANOS_PER_USD
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{amount} USD is finer than one nano-USD")
    return int(scaled)
