"""A circuit breaker: a deployment that fails or crawls is left alone, then tried by one call at a time.

    closed ──too many failed or slow──► open ──its time is over──► half open ──one call──► probing
      ▲ ▲                                ▲                             ▲                      │
      │ └──throttled (429, Retry-After)  └──────────── failed ─────────┼──────────────────────┤
      └───────────────────────────────────────────────── good ─────────┼──────────────────────┤
                                                                       └── said nothing, lost ┘

A throttled deployment is not sick: it is spared until the time that its provider named and then used as before. What
ends while a breaker is open was begun before and decides nothing. All times inside are integer ms, so that workers
that share a breaker compute alike (adapters/valkey_breakers.lua has the same rules).
"""

from typing import Literal, TypeAlias

import msgspec

from domain.errors import AggregatorError
from domain.faults import HARMS_DEPLOYMENT, LONGEST_RETRY_AFTER_S, fault_of, retry_after_s

Phase = Literal["closed", "throttled", "open", "half_open", "probing"]
Reason = Literal["", "errors", "slow", "probe_failed"]

LONGEST_MS = 900_000
"""No state lasts longer: what is further ahead comes of a clock that was set back."""


class BreakerPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Counts cover the last half to whole window. `slow_ms` None: slowness does not matter. Each opening in a row
    lasts twice as long, up to `longest_open_ms`. A probe that is not heard of for `probe_ms` is lost."""

    window_ms: int = 30_000
    minimum_calls: int = 10
    error_percent: int = 50
    slow_ms: int | None = None
    slow_percent: int = 80
    open_ms: int = 5_000
    longest_open_ms: int = 120_000
    probe_ms: int = 60_000


class Breaker(msgspec.Struct, frozen=True):
    """`half` numbers the half window that the counts are of; `earlier_…` are of the one before. `opened` is how often
    in a row it opened; `probe` the call that tries now. `changed_ms`: when it last opened, closed or gave a probe."""

    half: int = 0
    calls: int = 0
    failed: int = 0
    slow: int = 0
    earlier_calls: int = 0
    earlier_failed: int = 0
    earlier_slow: int = 0
    throttled_until_ms: int = 0
    open_until_ms: int = 0
    opened: int = 0
    reason: Reason = ""
    probe: str = ""
    probe_until_ms: int = 0
    changed_ms: int = 0

    @property
    def is_closed(self) -> bool:
        return self.opened == 0

    @property
    def is_free(self) -> bool:
        """Closed whatever the time is."""
        return self.opened == 0 and self.throttled_until_ms == 0


# What may happen to it.


class CallsEnded(msgspec.Struct, frozen=True, tag="ended"):
    """Outside of a probe. `failed` and `slow` are among `calls`."""

    calls: int
    failed: int = 0
    slow: int = 0


WENT_WELL = CallsEnded(1)


class Throttle(msgspec.Struct, frozen=True, tag="throttle"):
    until_ms: int


class AskProbe(msgspec.Struct, frozen=True, tag="ask"):
    """`probe` is the asker's own name for it, never used before."""

    probe: str


class ProbeEnded(msgspec.Struct, frozen=True, tag="probed"):
    """`good` None: it ended without saying anything about the deployment."""

    probe: str
    good: bool | None


BreakerInput: TypeAlias = CallsEnded | Throttle | AskProbe | ProbeEnded


# Facts.


class Counted(msgspec.Struct, frozen=True):
    """What its counts are from now on."""

    half: int
    calls: int
    failed: int
    slow: int
    earlier_calls: int
    earlier_failed: int
    earlier_slow: int


class Throttled(msgspec.Struct, frozen=True):
    until_ms: int


class Opened(msgspec.Struct, frozen=True):
    at_ms: int
    until_ms: int
    reason: Reason


class ProbeTaken(msgspec.Struct, frozen=True):
    at_ms: int
    probe: str
    until_ms: int


class ProbeFreed(msgspec.Struct, frozen=True):
    at_ms: int


class Recovered(msgspec.Struct, frozen=True):
    at_ms: int


BreakerFact: TypeAlias = Counted | Throttled | Opened | ProbeTaken | ProbeFreed | Recovered


def phase_at(breaker: Breaker, now_ms: int) -> Phase:
    if breaker.is_closed:
        return "throttled" if _lasts(breaker.throttled_until_ms, now_ms) else "closed"
    if _lasts(breaker.open_until_ms, now_ms):
        return "open"
    return "probing" if breaker.probe and _lasts(breaker.probe_until_ms, now_ms) else "half_open"


def decide(breaker: Breaker, told: BreakerInput, policy: BreakerPolicy, now_ms: int) -> list[BreakerFact]:
    """Every input has an answer in every state; [] when it changes nothing."""
    if isinstance(told, CallsEnded):
        return _count(breaker, told, policy, now_ms) if breaker.opened == 0 else []
    if isinstance(told, Throttle):
        later = told.until_ms > max(now_ms, breaker.throttled_until_ms)
        return [Throttled(min(told.until_ms, now_ms + LONGEST_MS))] if later else []
    if isinstance(told, AskProbe):
        free = phase_at(breaker, now_ms) == "half_open"
        return [ProbeTaken(now_ms, told.probe, now_ms + policy.probe_ms)] if free else []
    if not told.probe or told.probe != breaker.probe:
        return []
    if told.good is None:
        return [ProbeFreed(now_ms)]
    return [Recovered(now_ms)] if told.good else [_opened(breaker, "probe_failed", policy, now_ms)]


def evolve(breaker: Breaker, fact: BreakerFact) -> Breaker:
    if isinstance(fact, Counted):
        return Breaker(
            *(fact.half, fact.calls, fact.failed, fact.slow),
            *(fact.earlier_calls, fact.earlier_failed, fact.earlier_slow),
            throttled_until_ms=breaker.throttled_until_ms,
            changed_ms=breaker.changed_ms,
        )
    if isinstance(fact, Throttled):
        return msgspec.structs.replace(breaker, throttled_until_ms=fact.until_ms)
    if isinstance(fact, Opened):
        return Breaker(
            throttled_until_ms=breaker.throttled_until_ms,
            open_until_ms=fact.until_ms,
            opened=breaker.opened + 1,
            reason=fact.reason,
            changed_ms=fact.at_ms,
        )
    if isinstance(fact, ProbeTaken):
        return msgspec.structs.replace(breaker, probe=fact.probe, probe_until_ms=fact.until_ms, changed_ms=fact.at_ms)
    if isinstance(fact, ProbeFreed):
        return msgspec.structs.replace(breaker, probe="", probe_until_ms=0, changed_ms=fact.at_ms)
    return Breaker(throttled_until_ms=breaker.throttled_until_ms, changed_ms=fact.at_ms)


def after(breaker: Breaker, told: BreakerInput, policy: BreakerPolicy, now_ms: int) -> Breaker:
    """The same one when nothing was decided."""
    for fact in decide(breaker, told, policy, now_ms):
        breaker = evolve(breaker, fact)
    return breaker


def merged(own: Breaker, shared: Breaker, now_ms: int) -> Breaker:
    """What a worker goes on with: what all of them know, unless that forgot an opening or a probe which still holds."""
    if own.changed_ms > shared.changed_ms and phase_at(own, now_ms) in ("open", "probing"):
        return own
    return shared


def told_by(error: AggregatorError | None, duration_ms: int, policy: BreakerPolicy, now_ms: int) -> list[BreakerInput]:
    """What a call outside of a probe says when it ends; `error` None when it was answered."""
    slow = int(policy.slow_ms is not None and duration_ms >= policy.slow_ms)
    if error is None:
        return [CallsEnded(1, 0, slow) if slow else WENT_WELL]
    fault = fault_of(error)
    if fault not in HARMS_DEPLOYMENT:
        return []
    if fault == "throttled" and (throttle := _throttle(error, now_ms)):
        return [throttle]
    return [CallsEnded(1, 1, slow)]


def told_by_probe(
    probe: str, error: AggregatorError | None, duration_ms: int, policy: BreakerPolicy, now_ms: int
) -> list[BreakerInput]:
    """As `told_by`, of the call that held the probe. A provider that throttles is alive."""
    if error is None:
        return [ProbeEnded(probe, good=policy.slow_ms is None or duration_ms < policy.slow_ms)]
    fault = fault_of(error)
    if fault not in HARMS_DEPLOYMENT:
        return [ProbeEnded(probe, good=None)]
    if fault == "throttled" and (throttle := _throttle(error, now_ms)):
        return [ProbeEnded(probe, good=True), throttle]
    return [ProbeEnded(probe, good=False)]


def _lasts(until_ms: int, now_ms: int) -> bool:
    return now_ms < until_ms <= now_ms + LONGEST_MS


def _throttle(error: AggregatorError, now_ms: int) -> Throttle | None:
    """A 429 that names no time counts as a failure instead: it may be about one request's size."""
    asked_s = retry_after_s(error)
    return None if asked_s is None else Throttle(now_ms + round(min(asked_s, LONGEST_RETRY_AFTER_S) * 1000))


def _count(breaker: Breaker, told: CallsEnded, policy: BreakerPolicy, now_ms: int) -> list[BreakerFact]:
    counted = _counted(breaker, _possible(told), now_ms * 2 // policy.window_ms)
    if reason := _sick(counted, policy):
        return [counted, _opened(breaker, reason, policy, now_ms)]
    return [counted]


def _possible(told: CallsEnded) -> CallsEnded:
    if 0 <= told.failed <= told.calls and 0 <= told.slow <= told.calls:
        return told
    calls = max(told.calls, 0)
    return CallsEnded(calls, min(max(told.failed, 0), calls), min(max(told.slow, 0), calls))


def _counted(breaker: Breaker, told: CallsEnded, half: int) -> Counted:
    """A clock that steps back a little goes on in the newer half; after a great jump counting begins anew."""
    ahead = half - breaker.half
    if ahead == 1:
        return Counted(half, told.calls, told.failed, told.slow, breaker.calls, breaker.failed, breaker.slow)
    if not -1 <= ahead <= 0:
        return Counted(half, told.calls, told.failed, told.slow, 0, 0, 0)
    return Counted(
        breaker.half,
        breaker.calls + told.calls,
        breaker.failed + told.failed,
        breaker.slow + told.slow,
        *(breaker.earlier_calls, breaker.earlier_failed, breaker.earlier_slow),
    )


def _sick(counted: Counted, policy: BreakerPolicy) -> Reason:
    calls = counted.calls + counted.earlier_calls
    if calls < policy.minimum_calls or not calls:
        return ""
    if (counted.failed + counted.earlier_failed) * 100 >= policy.error_percent * calls:
        return "errors"
    if policy.slow_ms is not None and (counted.slow + counted.earlier_slow) * 100 >= policy.slow_percent * calls:
        return "slow"
    return ""


def _opened(breaker: Breaker, reason: Reason, policy: BreakerPolicy, now_ms: int) -> Opened:
    doublings = min(breaker.opened, 16)
    lasts_ms = min(policy.open_ms << doublings, policy.longest_open_ms)
    return Opened(now_ms, now_ms + lasts_ms, reason)
