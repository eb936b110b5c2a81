"""`limiter.lua` on Valkey: all rules of a request in one call.

All keys share one hash tag, so that a call is whole on a cluster too, where one node then does the limits of all.
"""

from collections.abc import Mapping, Sequence
from importlib import resources

import msgspec
from redis.asyncio import Redis

from adapters.valkey_scripts import TIMEOUT_S, BatchedScripts, Script
from domain.ids import RequestId
from domain.limit_book import NO_SEEDS, countable
from domain.limits import Demand, Rule, State, Unseeded, Verdict, check_rules, up_to_seconds, window_start_ms

PARTS = ("limit_counter.lua", "limiter.lua")
COUNTER = "agg:{limits}:"
RECORD = b"agg:{limits}:request:"
KINDS = {"requests": "r", "tokens": "t", "spend": "s", "concurrent": "c"}
WINDOWS = {"minute": "m", "day": "d", "month": "M", "none": "-"}
SERVER_TIME = 0
MAX_PLANS = 10_000
REFUSED, ALLOWED, UNKNOWN = 0, 1, 2


class _Plan(msgspec.Struct, frozen=True):
    """What a set of rules always sends. `spend`: which rules are about money."""

    keys: tuple[bytes, ...]
    codes: tuple[bytes, ...]
    spend: tuple[int, ...]


class Answer(msgspec.Struct, frozen=True):
    """`used`: of each spend counter, with the start of its window (ms), as the verdict left it."""

    verdict: Verdict
    used: tuple[tuple[Rule, int, int], ...] = ()


class LimitScript:
    """Times are in ms since 1970; SERVER_TIME is the server's own clock. Every call raises ValkeyAway, and ValueError
    for rules that cannot go together."""

    def __init__(self, client: Redis, *, timeout_s: float = TIMEOUT_S) -> None:
        source = "".join((resources.files("adapters") / part).read_text(encoding="utf-8") for part in PARTS)
        self._script = Script(source)
        self._scripts = BatchedScripts(client, self._script, timeout_s=timeout_s)
        self._plans: dict[tuple[Rule, ...], _Plan] = {}

    async def admit(
        self,
        rules: tuple[Rule, ...],
        demand: Demand,
        seeds: Mapping[Rule, tuple[int, int]] = NO_SEEDS,
        now_ms: int = SERVER_TIME,
    ) -> Answer | Unseeded:
        plan = self._plan(rules)
        sown: list[int] = []
        for rule, (spent, start_ms) in seeds.items():
            sown += (rules.index(rule) + 1, countable(spent), start_ms)
        reply = await self._call("admit", plan, demand, now_ms, sown)
        if reply[0] == UNKNOWN:
            return Unseeded(tuple((rules[reply[at] - 1], reply[at + 1]) for at in range(1, len(reply), 2)))
        return Answer(_verdict(rules, reply), _used(rules, plan, reply))

    async def adopt(self, rules: tuple[Rule, ...], demand: Demand, now_ms: int = SERVER_TIME) -> None:
        """It runs already: hold it against its rules whatever they say, unless it is known to have ended."""
        await self._call("adopt", self._plan(rules), demand, now_ms)

    async def finish(
        self, rules: tuple[Rule, ...], request_id: RequestId, tokens: int, nanos: int, now_ms: int = SERVER_TIME
    ) -> None:
        actual = Demand(request_id, countable(tokens), countable(nanos))
        await self._call("finish", self._plan(rules), actual, now_ms)

    async def touch(self, rules: tuple[Rule, ...], request_id: RequestId, now_ms: int = SERVER_TIME) -> None:
        await self._call("touch", self._plan(rules), Demand(request_id, 0, 0), now_ms)

    async def aclose(self) -> None:
        await self._scripts.aclose()

    async def _call(
        self, operation: str, plan: _Plan, amounts: Demand, now_ms: int, seeds: Sequence[int] = ()
    ) -> list[int]:
        ident = amounts.request_id.encode()
        keys = (RECORD + ident, *plan.keys)
        return await self._scripts.call(
            self._script, keys, (operation, now_ms, ident, amounts.tokens, amounts.nanos, *plan.codes, *seeds)
        )

    def _plan(self, rules: tuple[Rule, ...]) -> _Plan:
        plan = self._plans.get(rules)
        if plan is None:
            check_rules(rules)
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            plan = self._plans[rules] = _planned(rules)
        return plan


def _planned(rules: tuple[Rule, ...]) -> _Plan:
    codes: list[bytes] = []
    for rule in rules:
        codes += (f"{KINDS[rule.kind]}{WINDOWS[rule.window]}".encode(), str(rule.limit).encode())
    return _Plan(
        keys=tuple(f"{COUNTER}{rule.counter}".encode() for rule in rules),
        codes=tuple(codes),
        spend=tuple(index for index, rule in enumerate(rules) if rule.kind == "spend"),
    )


def _verdict(rules: tuple[Rule, ...], reply: list[int]) -> Verdict:
    allowed, binding, wait_ms = reply[0] == ALLOWED, reply[1], reply[2]
    states = tuple(
        [
            State(rule, reply[at], up_to_seconds(reply[at + 1]))
            for rule, at in zip(rules, range(4, len(reply), 2), strict=True)
        ]
    )
    if allowed:
        return Verdict(allowed=True, states=states)
    retry_after_s = None if wait_ms < 0 else up_to_seconds(wait_ms)
    refusing = rules[binding - 1] if binding else None
    return Verdict(allowed=False, states=states, binding=refusing, retry_after_s=retry_after_s)


def _used(rules: tuple[Rule, ...], plan: _Plan, reply: list[int]) -> tuple[tuple[Rule, int, int], ...]:
    return tuple(
        [
            (rules[index], rules[index].limit - reply[4 + 2 * index], window_start_ms(rules[index].window, reply[3]))
            for index in plan.spend
        ]
    )
