"""Limits in this process's memory: what the limiter falls back on, and what its script is held against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from domain.errors import Busy
from domain.ids import RequestId
from domain.limit_counter import Counter, Held, Slots, counter_of, deadline_ms
from domain.limits import (
    FINISHED_MS,
    MAX_AMOUNT,
    Demand,
    Rule,
    State,
    Unseeded,
    Verdict,
    check_rules,
    up_to_seconds,
)

MAX_COUNTERS = 50_000
MAX_RUNNING = 20_000
MAX_FINISHED = 200_000
SLOT: Held = (1, 0, 0)
NO_SEEDS: Mapping[Rule, tuple[int, int]] = {}


@dataclass
class _Record:
    deadline_ms: int
    held: dict[str, Held] = field(default_factory=dict[str, Held])


class LimitBook:
    """See `Limiter` for what the operations mean. Time, in ms since 1970, is the caller's; it never waits."""

    def __init__(self) -> None:
        self._counters: dict[str, Counter | Slots] = {}
        self._records: dict[RequestId, _Record] = {}
        self._finished: dict[RequestId, int] = {}

    def admit(
        self, rules: Sequence[Rule], demand: Demand, now_ms: int, seeds: Mapping[Rule, tuple[int, int]] = NO_SEEDS
    ) -> Verdict | Unseeded:
        """`seeds`: what was spent, and the start of the window (ms) for which that was asked. Raises Busy when full."""
        check_rules(rules)
        counters = self._opened(rules, now_ms)
        record = self._running(demand.request_id, now_ms)
        for rule, (spent, start_ms) in seeds.items():
            counter = self._counters[rule.counter]
            assert isinstance(counter, Counter)
            counter.seed(spent, start_ms)
        if unseeded := _unseeded(rules, counters):
            return unseeded
        held = record.held if record else {}
        waits = [
            (rule, counter.wait_ms(amount, rule.limit, now_ms))
            for rule, counter in zip(rules, counters, strict=True)
            if rule.counter not in held and counter.total + (amount := amount_of(rule, demand)) > rule.limit
        ]
        has_ended = self._has_finished(demand.request_id, now_ms)
        if not waits and not has_ended:
            self._hold(rules, demand, now_ms, record)
        states = tuple(
            State(rule, max(0, rule.limit - counter.total), up_to_seconds(counter.reset_ms(now_ms)))
            for rule, counter in zip(rules, counters, strict=True)
        )
        if has_ended:
            return Verdict(allowed=False, states=states)
        return _refusal(waits, states) if waits else Verdict(allowed=True, states=states)

    def adopt(self, rules: Sequence[Rule], demand: Demand, now_ms: int) -> None:
        """It runs already: hold it against its rules whatever they say, unless it is known to have ended."""
        check_rules(rules)
        if self._has_finished(demand.request_id, now_ms):
            return
        self._opened(rules, now_ms)
        self._hold(rules, demand, now_ms, self._running(demand.request_id, now_ms))

    def finish(self, rules: Sequence[Rule], request_id: RequestId, tokens: int, nanos: int, now_ms: int) -> None:
        check_rules(rules)
        if self._has_finished(request_id, now_ms):
            return
        actual = Demand(request_id, countable(tokens), countable(nanos))
        record = self._running(request_id, now_ms)
        for rule, counter in zip(rules, self._opened(rules, now_ms), strict=True):
            if isinstance(counter, Slots):
                counter.until_ms.pop(request_id, None)
            elif rule.kind == "requests":
                continue
            elif record is None:
                counter.add(amount_of(rule, actual))
            elif rule.counter in record.held:
                counter.correct(record.held[rule.counter], amount_of(rule, actual))
        self._records.pop(request_id, None)
        self._finished.pop(request_id, None)
        self._finished[request_id] = now_ms
        self._forget_finished(now_ms)

    def holds(self, request_id: RequestId) -> bool:
        return request_id in self._records

    def touch(self, rules: Sequence[Rule], request_id: RequestId, now_ms: int) -> None:
        check_rules(rules)
        record = self._running(request_id, now_ms)
        if record is None:
            return
        for rule, counter in zip(rules, self._opened(rules, now_ms), strict=True):
            if isinstance(counter, Slots):
                if request_id in counter.until_ms:
                    counter.take(request_id, deadline_ms(now_ms))
            elif rule.kind != "requests" and rule.counter in record.held:
                record.held[rule.counter] = counter.put_off(record.held[rule.counter])
        record.deadline_ms = deadline_ms(now_ms)

    def _opened(self, rules: Sequence[Rule], now_ms: int) -> list[Counter | Slots]:
        counters: list[Counter | Slots] = []
        for rule in rules:
            counter = self._counters.get(rule.counter)
            if counter is None:
                self._make_room(now_ms)
                counter = self._counters[rule.counter] = counter_of(rule)
            counter.advance(now_ms)
            counters.append(counter)
        return counters

    def _hold(self, rules: Sequence[Rule], demand: Demand, now_ms: int, record: _Record | None) -> None:
        if record is None:
            record = self._records[demand.request_id] = self._new_record(now_ms)
            self._finished.pop(demand.request_id, None)
        for rule in rules:
            if rule.counter in record.held:
                continue
            counter = self._counters[rule.counter]
            if isinstance(counter, Slots):
                counter.take(demand.request_id, deadline_ms(now_ms))
                record.held[rule.counter] = SLOT
            else:
                record.held[rule.counter] = counter.take(amount_of(rule, demand))

    def _running(self, request_id: RequestId, now_ms: int) -> _Record | None:
        record = self._records.get(request_id)
        return record if record and record.deadline_ms > now_ms else None

    def _has_finished(self, request_id: RequestId, now_ms: int) -> bool:
        finished_ms = self._finished.get(request_id)
        return finished_ms is not None and now_ms < finished_ms + FINISHED_MS

    def _new_record(self, now_ms: int) -> _Record:
        if len(self._records) >= MAX_RUNNING:
            self._records = {ident: kept for ident, kept in self._records.items() if kept.deadline_ms > now_ms}
            if len(self._records) >= MAX_RUNNING:
                raise Busy("Too many requests are running here; try again shortly.")
        return _Record(deadline_ms(now_ms))

    def _make_room(self, now_ms: int) -> None:
        if len(self._counters) >= MAX_COUNTERS:
            self._counters = {name: kept for name, kept in self._counters.items() if not kept.is_idle(now_ms)}
            if len(self._counters) >= MAX_COUNTERS:
                raise Busy("Too many limits are counted here; try again shortly.")

    def _forget_finished(self, now_ms: int) -> None:
        oldest = next(iter(self._finished))
        while len(self._finished) > MAX_FINISHED or self._finished[oldest] + FINISHED_MS <= now_ms:
            del self._finished[oldest]
            oldest = next(iter(self._finished))


def amount_of(rule: Rule, demand: Demand) -> int:
    if rule.kind == "tokens":
        return demand.tokens
    return demand.nanos if rule.kind == "spend" else 1


def countable(amount: int) -> int:
    return min(max(amount, 0), MAX_AMOUNT)


def _unseeded(rules: Sequence[Rule], counters: Sequence[Counter | Slots]) -> Unseeded | None:
    missing = tuple(
        (rule, counter.start_ms)
        for rule, counter in zip(rules, counters, strict=True)
        if rule.kind == "spend" and isinstance(counter, Counter) and counter.belief != "known"
    )
    return Unseeded(missing) if missing else None


def _refusal(waits: Sequence[tuple[Rule, int | None]], states: tuple[State, ...]) -> Verdict:
    never = next((rule for rule, wait_ms in waits if wait_ms is None), None)
    if never is not None:
        return Verdict(allowed=False, states=states, binding=never)
    binding, wait_ms = max(waits, key=lambda wait: wait[1] or 0)
    return Verdict(allowed=False, states=states, binding=binding, retry_after_s=up_to_seconds(wait_ms or 0))
