"""The limits that a routed request meets on its way: those of each deployment that it is sent to, and those of each
model that it falls back to.

A deployment's protect what its provider grants one key, so they count everybody's calls. A fallback's are the caller's
own for that name, as if it had been asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import count
from math import ceil, inf

import msgspec

from commands.holds import NOTHING_HELD, Held, Hold, Holds
from commands.route_plan import Candidate
from commands.running import AnswerRequest
from domain.deployment import Deployment, Limits
from domain.errors import Busy, Unavailable
from domain.ids import AccountId, RequestId
from domain.limits import BUSY_RETRY_MS, MAX_AMOUNT, SECOND_MS, Demand, Kind, Rule, Verdict, Window

MAX_FULL = 1_000
BUSY_RETRY_S = BUSY_RETRY_MS // SECOND_MS
ROUNDED_UP_S = 1.0
"""By so much may a verdict tell to wait for too long."""

ModelRules = Callable[[AccountId, str], Sequence[Rule]]
"""What an account is held against for a model or route by this name."""


class RouteLimits:
    """Of one process. `deployments` are those declared now; `now_s` never goes back."""

    def __init__(
        self,
        holds: Holds,
        deployments: Callable[[], Mapping[str, Deployment]],
        model_rules: ModelRules,
        unpriced_nanos: int,
        now_s: Callable[[], float],
    ) -> None:
        self._holds = holds
        self._deployments = deployments
        self._model_rules = model_rules
        self._unpriced_nanos = unpriced_nanos
        self._now_s = now_s
        self._numbers = count(1)
        self._full_until_s: dict[Rule, float] = {}

    async def of_deployment(self, command: AnswerRequest, candidate: Candidate) -> Held | Verdict:
        """To be ended with the call; a verdict when it is full. Never fails for want of the limiter: then the call is
        not counted."""
        deployment = self._deployments().get(candidate.deployment)
        rules = () if deployment is None else rules_of_deployment(deployment.name, deployment.limits)
        if not rules:
            return NOTHING_HELD
        demand = Demand(self._ident(command), _tokens(command, candidate), 0)
        try:
            held = await self._holds.take(rules, demand)
        except (Busy, Unavailable):
            return NOTHING_HELD
        if isinstance(held, Hold):
            return held
        self._remember(held)
        return msgspec.structs.replace(held, states=())

    async def of_fallback(self, command: AnswerRequest, name: str, candidates: Sequence[Candidate]) -> Held | None:
        """To be ended with the request. None when the caller may not have it now, or that cannot be known."""
        rules = self._model_rules(command.account_id, name)
        if not rules:
            return NOTHING_HELD
        tokens = max(_tokens(command, candidate) for candidate in candidates)
        nanos = max(command.ceiling_nanos(candidate, self._unpriced_nanos) for candidate in candidates)
        try:
            held = await self._holds.take(rules, Demand(self._ident(command), tokens, nanos))
        except (Busy, Unavailable):
            return None
        return held if isinstance(held, Hold) else None

    def full(self, deployment: Deployment, in_flight: int) -> Verdict | None:
        """What this process knows by itself: a call would be refused now. `in_flight` are its own calls."""
        for rule in rules_of_deployment(deployment.name, deployment.limits):
            wait_s = self._wait_s(rule, in_flight)
            if wait_s > 0:
                return Verdict(allowed=False, binding=rule, retry_after_s=wait_s)
        return None

    def _wait_s(self, rule: Rule, in_flight: int) -> int:
        if rule.kind == "concurrent":
            return BUSY_RETRY_S if in_flight >= rule.limit else 0
        left_s = self._full_until_s.get(rule, 0.0) - self._now_s()
        return ceil(left_s) if left_s >= ROUNDED_UP_S else 0

    def _remember(self, refused: Verdict) -> None:
        """Requests in a minute only become fewer by time: until then nobody needs to ask again."""
        rule, retry_after_s = refused.binding, refused.retry_after_s
        if rule is None or rule.kind != "requests" or retry_after_s is None or refused.degraded:
            return
        if len(self._full_until_s) >= MAX_FULL:
            self._full_until_s.clear()
        self._full_until_s[rule] = self._now_s() + retry_after_s

    def _ident(self, command: AnswerRequest) -> RequestId:
        """A hold of its own, which ends before the request or beside it."""
        return RequestId(f"{command.call.request_id}/{next(self._numbers)}")


def soonest(*refusals: Verdict | None) -> Verdict | None:
    """Of those that there are, the one that is over first."""
    waits = [refusal for refusal in refusals if refusal is not None]
    return min(waits, key=_wait, default=None)


def _wait(refusal: Verdict) -> float:
    return inf if refusal.retry_after_s is None else refusal.retry_after_s


@lru_cache(maxsize=4_096)
def rules_of_deployment(name: str, limits: Limits) -> tuple[Rule, ...]:
    granted: tuple[tuple[Kind, Window, int | None], ...] = (
        ("requests", "minute", limits.rpm),
        ("tokens", "minute", limits.tpm),
        ("concurrent", "none", limits.concurrent),
    )
    return tuple(
        Rule("deployment", name, kind, window, min(limit, MAX_AMOUNT))
        for kind, window, limit in granted
        if limit is not None
    )


def _tokens(command: AnswerRequest, candidate: Candidate) -> int:
    """The most that it is expected to use there."""
    return command.call.input_estimate + command.call_of(candidate).max_output_tokens * command.choices
