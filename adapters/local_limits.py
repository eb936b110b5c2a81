"""This worker's share of every limit, while Valkey is away, and what Valkey must be told when it is back.

A share is the limit ÷ workers, rounded down, at least 1 where the limit is. For spend it is what was known to be used
and a worker's part of the rest, without that least 1: what this worker heard last from Valkey, else what the books say.
"""

from collections.abc import Callable, Sequence

import msgspec

from adapters.spend_seeds import SpendSeeds
from adapters.untold_limits import Ended, Rules, Running, Untold
from domain.errors import Busy, Unavailable
from domain.ids import RequestId
from domain.limit_book import LimitBook
from domain.limits import Demand, Rule, Unseeded, Verdict, window_start_ms

MAX_KNOWN = 50_000
MAX_USED = 20_000
ATTEMPTS = 3


class LocalLimits:
    def __init__(self, seeds: SpendSeeds, workers: int, clock_ms: Callable[[], int]) -> None:
        self._seeds = seeds
        self._workers = workers
        self._clock_ms = clock_ms
        self._heard: dict[str, tuple[int, int]] = {}
        self._shares: dict[str, tuple[int, int]] = {}
        self._book = LimitBook()
        self.untold = Untold()

    def hear(self, rule: Rule, used_nanos: int, at_ms: int) -> None:
        """What Valkey says was used by then in the window of then, reservations included."""
        if self._heard.pop(rule.counter, None) is None and len(self._heard) >= MAX_KNOWN:
            del self._heard[next(iter(self._heard))]
        self._heard[rule.counter] = used_nanos, at_ms

    async def prepare(self, rules: Rules) -> None:
        """Know what was spent before. Raises Unavailable: never taken for zero."""
        for _ in range(ATTEMPTS):
            now_ms = self._clock_ms()
            unknown = [
                (rule, window_start_ms(rule.window, now_ms))
                for rule in rules
                if rule.kind == "spend" and self._known(rule, now_ms) is None
            ]
            if not unknown:
                return
            for rule, (spent, start_ms) in (await self._seeds.of(unknown)).items():
                self.hear(rule, spent, start_ms)
        raise Unavailable("What was spent so far is not known just now; try again shortly.")

    def admit(self, rules: Rules, demand: Demand, *, asked: bool) -> Verdict:
        """On this worker's shares; `asked` when Valkey may have heard of it.

        Raises Busy when too much waits to be told, Unavailable when not prepared.
        """
        if len(self.untold.used) >= MAX_USED or len(self._shares) >= MAX_KNOWN:
            raise Busy("Too many limits are counted here; try again shortly.")
        now_ms = self._clock_ms()
        seeds: dict[Rule, tuple[int, int]] = {}
        shares: list[Rule] = []
        for rule in rules:
            share = self._share(rule, now_ms)
            if rule.kind == "spend":
                seeds[share] = self._shares[rule.counter]
            shares.append(share)
        verdict = self._book.admit(shares, demand, now_ms, seeds)
        if isinstance(verdict, Unseeded):
            raise Unavailable("What was spent so far is not known just now; try again shortly.")
        if verdict.allowed:
            self.untold.run(Running(rules, demand, asked))
        return _of_whole(verdict, rules, shares)

    def holds(self, request_id: RequestId) -> bool:
        """Whether Valkey has not heard of this running request."""
        return request_id in self.untold.running

    def finish(self, ended: Ended) -> None:
        if self._book.holds(ended.request_id):
            self._book.finish(ended.rules, ended.request_id, ended.tokens, ended.nanos, self._clock_ms())
        self.untold.end(ended)

    def touch(self, rules: Rules, request_id: RequestId) -> None:
        self._book.touch(rules, request_id, self._clock_ms())

    def forget(self) -> None:
        """Valkey counts again and knows all; the next time begins with what it says last."""
        self._book = LimitBook()
        self._shares.clear()

    def _share(self, rule: Rule, now_ms: int) -> Rule:
        if rule.kind != "spend":
            least = min(rule.limit, 1)
            return msgspec.structs.replace(rule, limit=max(least, rule.limit // self._workers))
        known = self._known(rule, now_ms)
        if known is None:
            raise Unavailable("What was spent so far is not known just now; try again shortly.")
        self._shares[rule.counter] = known
        left = max(0, rule.limit - known[0])
        return msgspec.structs.replace(rule, limit=min(rule.limit, known[0] + left // self._workers))

    def _known(self, rule: Rule, now_ms: int) -> tuple[int, int] | None:
        """What was used before this worker was alone, of the window that is now."""
        start_ms = window_start_ms(rule.window, now_ms)
        for known in (self._shares.get(rule.counter), self._heard.get(rule.counter)):
            if known is not None and window_start_ms(rule.window, known[1]) == start_ms:
                return known[0], start_ms
        return None


def _of_whole(verdict: Verdict, rules: Sequence[Rule], shares: Sequence[Rule]) -> Verdict:
    """The same with the rules that the caller knows."""
    states = tuple(msgspec.structs.replace(state, rule=rule) for state, rule in zip(verdict.states, rules, strict=True))
    binding = None if verdict.binding is None else rules[shares.index(verdict.binding)]
    return msgspec.structs.replace(verdict, states=states, binding=binding, degraded=True)
