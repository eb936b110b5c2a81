"""How much a caller may use: requests and tokens a minute, a day, a month; requests at once; spend in nano-USD.

One request is held against all of its rules at once, or against none. Requests count when they are admitted. Tokens
and spend are reserved at their upper bound and corrected at the end, in the window in which the request was admitted.
An end that never comes is given up at a deadline: the slot is free again, the reservation is dropped, and a spend
counter that dropped one is no longer believed until it has asked `SpentSince` again.

A minute slides: it counts whole seconds, the current one and the 60 before it, so that no 60 seconds see more than the
limit. Days and months are UTC's.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, Protocol, TypeAlias

import msgspec

from domain.ids import RequestId

Scope = Literal["key", "account", "model", "plan"]
"""Whose use an operator may limit."""
RuleScope: TypeAlias = Scope | Literal["deployment"]
Kind = Literal["requests", "tokens", "concurrent", "spend"]
Window = Literal["minute", "day", "month", "none"]

MAX_AMOUNT = 2**52
"""Limits and amounts end here (4.5 million USD), for the server's scripts count exactly only up to twice that."""
MAX_RULES = 32
"""Of one request."""
SECOND_MS = 1_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000
MINUTE_SECONDS = 61
"""A second counts until this many later: for every 60 s that contain a part of it."""
HOLD_MINUTES = 16
"""The deadline of a reservation, counted from the start of its minute: 15 to 16 minutes."""
FINISHED_MS = 120_000
"""For how long the end of a request is remembered, so that being told twice counts once."""
BUSY_RETRY_MS = 1_000
"""When something running is all that is in the way, nobody knows for how long."""


class Rule(msgspec.Struct, frozen=True, cache_hash=True):
    """`subject` says whose counter it is within its scope (`acc_1`, `acc_1/gpt-4o`); a limit that changes keeps its
    counter. Spend is in nano-USD, by day or month; `concurrent` has no window and nothing else goes without.

    Raises ValueError when it makes no sense.
    """

    scope: RuleScope
    subject: str
    kind: Kind
    window: Window
    limit: int

    def __post_init__(self) -> None:
        if (self.kind == "concurrent") != (self.window == "none"):
            raise ValueError(f"{self.kind} limits have no window {self.window!r}")
        if self.kind == "spend" and self.window == "minute":
            raise ValueError("spend is limited by day or month")
        if self.kind == "spend" and self.scope == "deployment":
            raise ValueError("spend is an account's, and no deployment's")
        if not 0 <= self.limit <= MAX_AMOUNT:
            raise ValueError(f"a limit is between 0 and {MAX_AMOUNT}, not {self.limit}")

    @property
    def counter(self) -> str:
        """Names what is counted: the same for every limit on it."""
        return f"{self.scope}:{self.kind}:{self.window}:{self.subject}"


class Demand(msgspec.Struct, frozen=True):
    """The most that a request may use. Raises ValueError for what cannot be counted."""

    request_id: RequestId
    tokens: int
    nanos: int

    def __post_init__(self) -> None:
        if not (0 <= self.tokens <= MAX_AMOUNT and 0 <= self.nanos <= MAX_AMOUNT):
            raise ValueError(f"amounts are between 0 and {MAX_AMOUNT}: {self.tokens} tokens, {self.nanos} nano-USD")


class State(msgspec.Struct, frozen=True, gc=False):
    """A rule after the decision. `reset_s`: when, if nothing more comes, all of it is free again; 0 if it is."""

    rule: Rule
    remaining: int
    reset_s: int


class Verdict(msgspec.Struct, frozen=True):
    """`binding` is the rule that refuses for longest; None, too, for a request that has ended. Waiting `retry_after_s`
    may help, and never does if None.

    `degraded`: decided by this worker alone, on its share.
    """

    allowed: bool
    states: tuple[State, ...] = ()
    binding: Rule | None = None
    retry_after_s: int | None = None
    degraded: bool = False


class Limiter(Protocol):
    """Every wait is bounded; without its server it goes on with this worker's share and says `degraded`."""

    async def admit(self, rules: Sequence[Rule], demand: Demand) -> Verdict:
        """All or nothing. A running request that asks again takes only what it does not hold yet (a fallback under
        the rules of another model); one that has ended is refused, so that a late message holds nothing.

        Raises Unavailable when a spend counter cannot be known, and Busy when too many requests run on local shares.
        """
        ...

    def finish(self, rules: Sequence[Rule], request_id: RequestId, tokens: int, nanos: int) -> None:
        """What it really used, under the rules it was admitted with; zeros if it never ran. It is told before anything
        that is asked later. Never raises, any number of times: only the first counts. A request that nobody knows (any
        more) counts what it used."""
        ...

    async def touch(self, rules: Sequence[Rule], request_id: RequestId) -> None:
        """It still runs: put its deadline off. Never raises."""
        ...


class SpentSince(Protocol):
    """What the books say was spent under a rule's scope and subject since `start` (UTC). Raises Unavailable."""

    async def __call__(self, scope: Scope, subject: str, start: datetime) -> int: ...


class Unseeded(msgspec.Struct, frozen=True):
    """Nothing was decided: these spend counters are unknown. Each rule with the start of its window, in ms."""

    missing: tuple[tuple[Rule, int], ...]


def window_start_ms(window: Window, now_ms: int) -> int:
    """Of the calendar window (UTC) that `now_ms` is in, in ms since 1970."""
    day = now_ms // DAY_MS
    if window == "day":
        return day * DAY_MS
    return (day - _utc(now_ms).day + 1) * DAY_MS


def window_end_ms(window: Window, start_ms: int) -> int:
    if window == "day":
        return start_ms + DAY_MS
    return window_start_ms("month", start_ms + 31 * DAY_MS)


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // SECOND_MS, UTC)


def start_of(at_ms: int) -> datetime:
    """The form in which `SpentSince` is asked."""
    return _utc(at_ms)


def up_to_seconds(duration_ms: int) -> int:
    return -(-duration_ms // SECOND_MS)


def check_rules(rules: Sequence[Rule]) -> None:
    """Raises ValueError for more rules than one request may have, and for two that share a counter."""
    if len(rules) > MAX_RULES:
        raise ValueError(f"a request has at most {MAX_RULES} rules, not {len(rules)}")
    if len({rule.counter for rule in rules}) != len(rules):
        raise ValueError("two rules of one request share a counter")
