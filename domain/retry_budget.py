"""How many second calls there may be: a share of live traffic, so that a dead provider causes no storm.

A token bucket. Each request puts in `share` of a token, time a small minimum, and each retry, failover or hedge takes
a whole one. In any window: retries <= share x requests + minimum_per_s x seconds + burst.
"""

import msgspec


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`minimum_per_s` lets a quiet gateway retry at all; `burst` is the most that is saved up, and is there at first:
    enough for what fails before a breaker opens."""

    share: float = 0.2
    minimum_per_s: float = 2.0
    burst: float = 20.0


class RetryBudget(msgspec.Struct, frozen=True):
    policy: RetryPolicy
    tokens: float
    at_s: float

    @staticmethod
    def full(policy: RetryPolicy, now_s: float) -> "RetryBudget":
        return RetryBudget(policy, policy.burst, now_s)

    def after_request(self, now_s: float) -> "RetryBudget":
        """A client's request came; its retries do not count as requests."""
        tokens = min(self._tokens(now_s) + self.policy.share, self.policy.burst)
        return RetryBudget(self.policy, tokens, max(now_s, self.at_s))

    def allows(self, now_s: float) -> bool:
        return self._tokens(now_s) >= 1.0

    def after_retry(self, now_s: float) -> "RetryBudget":
        """One was made; only after `allows` said so."""
        tokens = self._tokens(now_s)
        assert tokens >= 1.0, "allows() comes first"
        return RetryBudget(self.policy, tokens - 1.0, max(now_s, self.at_s))

    def _tokens(self, now_s: float) -> float:
        """A clock that goes back earns nothing until it has caught up."""
        if now_s <= self.at_s:
            return self.tokens
        return min(self.tokens + (now_s - self.at_s) * self.policy.minimum_per_s, self.policy.burst)
