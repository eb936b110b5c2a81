"""How fast a deployment has been of late: averages in which a call counts half as much after each half-life.

What is old fades to "unknown", so that a deployment which was slow once is not shunned for ever.
"""

import math

import msgspec

HALF_LIFE_S = 60.0
LONGEST_MS = 600_000.0
FAINTEST = 0.05
"""Of one call. An average that rests on less says nothing."""


class DecayedAverage(msgspec.Struct, frozen=True):
    """`total` and `weight` are as of `at_s`. Clocks that go back change nothing but the fading."""

    total: float = 0.0
    weight: float = 0.0
    at_s: float = 0.0

    def observe(self, value: float, now_s: float, half_life_s: float = HALF_LIFE_S) -> "DecayedAverage":
        """`value` in ms. What is no number is left out; the others are cut to 0 … 600,000."""
        if math.isnan(value):
            return self
        elapsed_s = now_s - self.at_s
        kept = _kept(elapsed_s, half_life_s) if self.weight else 0.0
        bounded = value if 0.0 <= value <= LONGEST_MS else min(max(value, 0.0), LONGEST_MS)
        at_s = now_s if elapsed_s > 0 else self.at_s
        return DecayedAverage(self.total * kept + bounded, self.weight * kept + 1.0, at_s)

    def mean(self, now_s: float, half_life_s: float = HALF_LIFE_S) -> float | None:
        """None when nothing recent is known."""
        if self.weight * _kept(now_s - self.at_s, half_life_s) < FAINTEST:
            return None
        return self.total / self.weight


class Latency(msgspec.Struct, frozen=True):
    """Of calls that succeeded, and of timeouts with the time waited. A quick refusal is not speed: leave it out."""

    first_token: DecayedAverage = DecayedAverage()
    duration: DecayedAverage = DecayedAverage()

    def observe(self, now_s: float, *, duration_ms: float, first_token_ms: float | None = None) -> "Latency":
        first = self.first_token if first_token_ms is None else self.first_token.observe(first_token_ms, now_s)
        return Latency(first, self.duration.observe(duration_ms, now_s))

    def expected_ms(self, now_s: float, *, stream: bool) -> float | None:
        """Until the client has something: the first token of a stream, else the whole answer."""
        first_ms = self.first_token.mean(now_s) if stream else None
        return self.duration.mean(now_s) if first_ms is None else first_ms


def _kept(elapsed_s: float, half_life_s: float) -> float:
    return 0.5 ** (max(elapsed_s, 0.0) / half_life_s)
