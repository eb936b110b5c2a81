"""One counter of a limit: what is used, and what is open in buckets that fall away with time."""

from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from domain.limits import (
    BUSY_RETRY_MS,
    HOLD_MINUTES,
    MINUTE_MS,
    MINUTE_SECONDS,
    SECOND_MS,
    Kind,
    Rule,
    Window,
    window_end_ms,
    window_start_ms,
)

Belief = Literal["unknown", "known", "doubtful"]
Held = tuple[int, int, int]
"""What a request holds of a counter: amount, bucket, start of the window."""


def deadline_ms(now_ms: int) -> int:
    """At which what is admitted now is given up, unless it is put off."""
    return (now_ms // MINUTE_MS + HOLD_MINUTES) * MINUTE_MS


@dataclass
class Counter:
    """Amounts in the unit of its kind. A bucket is named by the second (sliding minute) or minute (calendar) at which
    it falls away. In a sliding minute that is use, in a calendar window a reservation; there, `used` is what ended."""

    kind: Kind
    window: Window
    used: int = 0
    open: int = 0
    belief: Belief = "unknown"
    start_ms: int = 0
    buckets: dict[int, int] = field(default_factory=dict[int, int])
    tick: int = -1
    last: int = 0

    @property
    def total(self) -> int:
        return self.used + self.open

    @property
    def _sliding(self) -> bool:
        return self.window == "minute"

    @property
    def _newest(self) -> int:
        return self.tick + (MINUTE_SECONDS if self._sliding else HOLD_MINUTES)

    def advance(self, now_ms: int) -> None:
        """Enter the window of `now_ms`, and drop what has fallen away. Time does not go back."""
        if not self._sliding:
            start_ms = window_start_ms(self.window, now_ms)
            if start_ms > self.start_ms:
                self.start_ms, self.used, self.open, self.belief = start_ms, 0, 0, "unknown"
                self.buckets.clear()
        self.tick = max(self.tick, now_ms // (SECOND_MS if self._sliding else MINUTE_MS))
        for bucket in [bucket for bucket in self.buckets if bucket <= self.tick]:
            gone = self.buckets.pop(bucket)
            self.open -= gone
            if gone and self.belief == "known":
                self.belief = "doubtful"

    def seed(self, spent: int, start_ms: int) -> None:
        """Only the first of several seeds counts. Ends that came while it was unknown may be in `spent` or not: both
        are counted, rather too much than too little."""
        if start_ms != self.start_ms or self.belief == "known":
            return
        self.used = max(self.used, spent) if self.belief == "doubtful" else self.used + spent
        self.belief = "known"

    def take(self, amount: int) -> Held:
        if self.kind == "requests" and not self._sliding:
            self.used += 1
            return 1, 0, self.start_ms
        self._put(self._newest, amount)
        return amount, self._newest, self.start_ms

    def correct(self, held: Held, actual: int) -> None:
        """Nothing happens once the window of the admission has passed."""
        amount, bucket, start_ms = held
        if self._sliding:
            if bucket > self.tick:
                self.buckets[bucket] += actual - amount
                self.open += actual - amount
        elif start_ms == self.start_ms:
            if bucket > self.tick:
                self.buckets[bucket] -= amount
                self.open -= amount
            self.used += actual

    def add(self, actual: int) -> None:
        """Use that was never reserved, or no longer."""
        if self._sliding:
            self._put(self._newest, actual)
        else:
            self.used += actual

    def put_off(self, held: Held) -> Held:
        """The reservation with the deadline of one that is made now. What is in a sliding minute stays where it is."""
        amount, bucket, start_ms = held
        if self._sliding or start_ms != self.start_ms or bucket <= self.tick:
            return held
        self.buckets[bucket] -= amount
        self.open -= amount
        return self.take(amount)

    def wait_ms(self, amount: int, limit: int, now_ms: int) -> int | None:
        """Until it may fit; None if it never does."""
        if amount > limit:
            return None
        if self._sliding:
            return self._sliding_wait_ms(amount, limit, now_ms)
        if self.used + amount <= limit:
            return BUSY_RETRY_MS
        return window_end_ms(self.window, self.start_ms) - now_ms

    def reset_ms(self, now_ms: int) -> int:
        if not self.total:
            return 0
        if self._sliding:
            return self.last * SECOND_MS - now_ms
        return window_end_ms(self.window, self.start_ms) - now_ms

    def is_idle(self, now_ms: int) -> bool:
        """Whether forgetting it changes nothing."""
        if self._sliding:
            return self.last <= now_ms // SECOND_MS
        return self.start_ms < window_start_ms(self.window, now_ms)

    def _put(self, bucket: int, amount: int) -> None:
        self.buckets[bucket] = self.buckets.get(bucket, 0) + amount
        self.open += amount
        if amount:
            self.last = bucket

    def _sliding_wait_ms(self, amount: int, limit: int, now_ms: int) -> int | None:
        left = self.total
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left + amount <= limit:
                return bucket * SECOND_MS - now_ms
        return None


@dataclass
class Slots:
    """Requests at once: their ids, each until its deadline, the earliest first."""

    until_ms: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def total(self) -> int:
        return len(self.until_ms)

    def advance(self, now_ms: int) -> None:
        while self.until_ms:
            ident, until_ms = next(iter(self.until_ms.items()))
            if until_ms > now_ms:
                break
            del self.until_ms[ident]

    def take(self, ident: str, until_ms: int) -> None:
        """Or put it off."""
        self.until_ms.pop(ident, None)
        self.until_ms[ident] = until_ms

    def wait_ms(self, amount: int, limit: int, now_ms: int) -> int | None:
        return BUSY_RETRY_MS if amount <= limit else None

    def reset_ms(self, now_ms: int) -> int:
        return 0

    def is_idle(self, now_ms: int) -> bool:
        return all(until_ms <= now_ms for until_ms in islice(reversed(self.until_ms.values()), 1))


def counter_of(rule: Rule) -> Counter | Slots:
    return Slots() if rule.kind == "concurrent" else Counter(rule.kind, rule.window)
