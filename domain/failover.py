"""What to do after a call failed: try one more, fall back to another model, or give up. Total over whatever failed.

| the call failed with     | same one again        | another deployment | fallbacks         |
|--------------------------|-----------------------|--------------------|-------------------|
| unreachable, overloaded  | after a jittered wait | yes                | fallback_models   |
| throttled                | after Retry-After     | yes                | fallback_models   |
| timeout, broken          | never                 | if retry_unknown   | likewise          |
| exhausted, credentials   | never                 | yes                | fallback_models   |
| missing, unaffordable    | never                 | yes                | fallback_models   |
| context                  | never                 | never              | context_fallbacks |
| content                  | never                 | never              | content_fallbacks |
| request, ours            | never                 | never              | never             |

Nothing at all once a byte reached the client. Another deployment comes before the same one again, and the same one
before another model, unless that means to wait for long. Each model is fallen back to once, so that it ends.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec

from domain.deployment import Route
from domain.errors import AggregatorError, InvalidInput, ProviderError, Unavailable
from domain.faults import UNKNOWN, Fault, fault_of, may_be_billed, retry_after_s

FIRST_WAIT_S = 0.25
"""At most, before the same deployment is tried again; doubled each time. How much of it falls to chance."""
LONGEST_WAIT_S = 8.0
SPREAD = 0.1
"""Of a `Retry-After`, added by chance: those that were sent away together do not come back together."""
WORTH_WAITING_S = 2.0
"""With a fallback at hand nobody waits longer for the same deployment."""
LONGEST_RETRY_AFTER_S = 30.0
"""Nobody holds a client longer for a throttled provider; nor is one asked earlier than it said."""
LEAST_TIME_S = 0.5
"""A call with less time than this is not begun."""
MOST_CALLS = 20
"""Of one request, over all models."""

_SAME_AGAIN: frozenset[Fault] = frozenset({"unreachable", "overloaded", "throttled"})
_NOWHERE_ELSE: frozenset[Fault] = frozenset({"context", "content"})
_FREE: frozenset[Fault] = frozenset({"context", "content", "unaffordable"})
"""To go on after these takes nothing from the retry budget: no sick provider causes them."""

Why = Literal["delivered", "request", "ours", "unknown", "no_time", "attempts", "retry_budget", "nobody_left"]


class Attempt(msgspec.Struct, frozen=True):
    """A call that ended badly; `error` may also be a refusal of ours before it was sent (CreditExhausted,
    UnsupportedParameter). `delivered`: a byte of its answer reached the client."""

    route: str
    deployment: str
    error: AggregatorError
    delivered: bool = False

    @property
    def possibly_billed(self) -> bool:
        """The provider may bill for it though there is no answer: to be recorded with the attempt."""
        return self.delivered or may_be_billed(self.error)


class Plan(msgspec.Struct, frozen=True):
    """`trail` is the asked route and those fallen back to since; `candidates` are of its last one, in order.
    `too_long`: the input's length left it without candidates."""

    trail: tuple[Route, ...]
    candidates: tuple[str, ...]
    started_s: float
    too_long: bool = False

    @property
    def route(self) -> Route:
        return self.trail[-1]

    @property
    def deadline_s(self) -> float:
        return self.started_s + self.trail[0].total_timeout_s

    def fallen_back(self, route: Route, candidates: tuple[str, ...], *, too_long: bool = False) -> "Plan":
        return Plan((*self.trail, route), candidates, self.started_s, too_long)


class Now(msgspec.Struct, frozen=True):
    """`retry_allowed` is the retry budget's word. `unavailable` are deployments that cannot be used now (breaker,
    limits), `hopeless` models that may not be fallen back to for this request."""

    now_s: float
    retry_allowed: bool = True
    unavailable: frozenset[str] = frozenset()
    hopeless: frozenset[str] = frozenset()


class TryNext(msgspec.Struct, frozen=True):
    """`is_retry`: take it from the retry budget when it is made."""

    deployment: str
    after_s: float
    timeout_s: float
    is_retry: bool


class FallBackTo(msgspec.Struct, frozen=True):
    """Order its candidates, check its price against the budget, and ask again with `plan.fallen_back(…)`."""

    model: str
    why: Fault | Literal["unavailable"]


class GiveUp(msgspec.Struct, frozen=True):
    """`possibly_billed`: the client is told not to repeat it by itself (`x-should-retry: false`)."""

    error: AggregatorError
    why: Why
    possibly_billed: bool


Step: TypeAlias = TryNext | FallBackTo | GiveUp
Random: TypeAlias = Callable[[], float]


def next_step(plan: Plan, attempts: Sequence[Attempt], now: Now, random: Random) -> Step:
    """`attempts` are all of the request so far, none at first, over every model."""
    if attempts and (why := _is_final(plan, attempts)):
        return _give_up(attempts, why)
    left_s = plan.deadline_s - now.now_s
    if left_s < LEAST_TIME_S:
        return _give_up(attempts, "no_time")
    if not attempts and (first := _untried(plan, attempts, now)):
        return _try_next(plan, first, 0.0, left_s, is_retry=False)
    if len(attempts) >= MOST_CALLS:
        return _give_up(attempts, "attempts")
    fault: Fault | None = fault_of(attempts[-1].error) if attempts else "context" if plan.too_long else None
    is_retry = bool(attempts) and fault not in _FREE
    if is_retry and not now.retry_allowed:
        return _give_up(attempts, "retry_budget")
    own = _own(plan, attempts)
    may_stay = _may_stay(plan, own)
    if may_stay and (untried := _untried(plan, attempts, now)):
        return _try_next(plan, untried, 0.0, left_s, is_retry=is_retry)
    again = _again(plan, own, now, random) if may_stay else None
    fallback = _fallback(plan, fault, now)
    if again is not None:
        after_s, deployment = again
        if left_s - after_s >= LEAST_TIME_S and (fallback is None or after_s <= WORTH_WAITING_S):
            return _try_next(plan, deployment, after_s, left_s, is_retry=is_retry)
    if fallback is not None:
        return FallBackTo(fallback, fault or "unavailable")
    nobody: Why = "nobody_left" if _calls(own) < plan.route.attempts_max else "attempts"
    return _give_up(attempts, "no_time" if again else nobody, too_long=plan.too_long)


def hedge(plan: Plan, attempts: Sequence[Attempt], running: str, now: Now) -> TryNext | None:
    """A second call beside `running`, of which nothing has come for as long as the route waits. To be made once a
    request: two calls run at most, and the one that is not first is given up."""
    if plan.route.hedge_after_s is None or not now.retry_allowed or len(attempts) + 1 >= MOST_CALLS:
        return None
    if not plan.trail[0].retry_unknown or _calls(_own(plan, attempts)) + 1 >= plan.route.attempts_max:
        return None
    left_s = plan.deadline_s - now.now_s
    other = _untried(plan, attempts, now, running)
    if other is None or left_s < LEAST_TIME_S:
        return None
    return _try_next(plan, other, 0.0, left_s, is_retry=True)


def _is_final(plan: Plan, attempts: Sequence[Attempt]) -> Why | None:
    last = attempts[-1]
    if any(attempt.delivered for attempt in attempts):
        return "delivered"
    fault = fault_of(last.error)
    if fault == "request" or fault == "ours":
        return fault
    return "unknown" if fault in UNKNOWN and not plan.trail[0].retry_unknown else None


def _own(plan: Plan, attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """Those that the present route made."""
    return [attempt for attempt in attempts if attempt.route == plan.route.name] if attempts else ()


def _may_stay(plan: Plan, own: Sequence[Attempt]) -> bool:
    """Whether another call of the present route may help."""
    return _calls(own) < plan.route.attempts_max and not (own and fault_of(own[-1].error) in _NOWHERE_ELSE)


def _calls(own: Sequence[Attempt]) -> int:
    """What was never sent for want of credit is no call."""
    return sum([fault_of(attempt.error) != "unaffordable" for attempt in own]) if own else 0


def _try_next(plan: Plan, deployment: str, after_s: float, left_s: float, *, is_retry: bool) -> TryNext:
    return TryNext(deployment, after_s, min(plan.route.attempt_timeout_s, left_s - after_s), is_retry)


def _untried(plan: Plan, attempts: Sequence[Attempt], now: Now, running: str = "") -> str | None:
    """The first that was not asked; who served another route of this request was. Not the one that runs."""
    tried = {attempt.deployment for attempt in attempts} if attempts else ()
    for name in plan.candidates:
        if name not in tried and name not in now.unavailable and name != running:
            return name
    return None


def _again(plan: Plan, own: Sequence[Attempt], now: Now, random: Random) -> tuple[float, str] | None:
    """After how long to ask which of this route's candidates once more: the one that is to be waited for least."""
    waits = [_wait(name, own, random) for name in plan.candidates if name not in now.unavailable]
    return min([wait for wait in waits if wait is not None], default=None)


def _wait(name: str, own: Sequence[Attempt], random: Random) -> tuple[float, str] | None:
    """How long until the same one may be asked again; None for never."""
    errors = [attempt.error for attempt in own if attempt.deployment == name]
    if not errors or any(fault_of(error) not in _SAME_AGAIN for error in errors):
        return None
    asked_s = retry_after_s(errors[-1])
    if asked_s is not None:
        return (asked_s * (1.0 + SPREAD * random()), name) if asked_s <= LONGEST_RETRY_AFTER_S else None
    return random() * min(FIRST_WAIT_S * 2.0 ** (len(errors) - 1), LONGEST_WAIT_S), name


def _fallback(plan: Plan, fault: Fault | None, now: Now) -> str | None:
    """The next model not been to. Those of where we are come before those of where we came from."""
    been = {route.name for route in plan.trail} | now.hopeless
    for route in reversed(plan.trail):
        for model in _fallbacks_for(route, fault):
            if model not in been:
                return model
    return None


def _fallbacks_for(route: Route, fault: Fault | None) -> tuple[str, ...]:
    if fault == "context":
        return route.context_fallbacks
    return route.content_fallbacks if fault == "content" else route.fallback_models


def _give_up(attempts: Sequence[Attempt], why: Why, *, too_long: bool = False) -> GiveUp:
    """What a provider said tells more than our refusal to pay for the next one."""
    errors = [attempt.error for attempt in attempts]
    said = [error for error in errors if isinstance(error, ProviderError)]
    return GiveUp(
        (said or errors or [_nobody(too_long=too_long)])[-1], why, any(attempt.possibly_billed for attempt in attempts)
    )


def _nobody(*, too_long: bool) -> AggregatorError:
    if too_long:
        return InvalidInput(
            "The input is longer than any deployment of this model can take; shorten it, or ask for another model.",
            field="messages",
            code="context_length_exceeded",
        )
    return Unavailable("No deployment of this model can take a request now.", retry_after_s=5)
