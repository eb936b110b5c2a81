"""`limiter.lua` on Valkey: all rules of a request in one call.

All keys share one hash tag, so that a call is whole on a cluster too, where one node then does the limits of all.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from struct import Struct, unpack

import msgspec

from adapters.valkey_scripts import BatchedScripts, Script, ScriptCall
from domain.ids import RequestId
from domain.limit_book import NO_SEEDS, countable
from domain.limits import Demand, Rule, State, Unseeded, Verdict, check_rules, up_to_seconds

PARTS = ("limit_counter.lua", "limiter.lua")
COUNTER = "agg:{limits}:2:"
RECORD = b"agg:{limits}:2:record:"
"""The 2 tells them from those of an earlier form, which end by themselves."""
KINDS = {"requests": b"r", "tokens": b"t", "spend": b"s", "concurrent": b"c"}
WINDOWS = {"minute": b"m", "day": b"d", "month": b"M", "none": b"-"}
SERVER_TIME = 0
MAX_PLANS = 10_000
REFUSED, ALLOWED, UNKNOWN = 0, 1, 2
STATES_AT = 4
"""Where they begin in a reply."""


def _words(values: Iterable[bytes | str | int]) -> bytes:
    """As the protocol has them in a command."""
    encoded = [value if isinstance(value, bytes) else str(value).encode() for value in values]
    return b"".join([b"$%d\r\n%b\r\n" % (len(value), value) for value in encoded])


COMMAND = b"*%d\r\n%b$%d\r\n%b%b\r\n%b%b$24\r\n%b\r\n%b"
"""How many words; the call; the record's key; counters, operation; numbers; rules and seeds."""
FIXED_WORDS = 7
"""EVALSHA, the script, how many keys, the record's key, operation, numbers, rules."""
NUMBERS = Struct("<ddd")
"""Time, tokens, nano-USD: exact, for none is above 2 to the 53rd."""
RULE = Struct("<ccd")
ADMIT, ADOPT, FINISH, TOUCH = (_words([operation]) for operation in ("admit", "adopt", "finish", "touch"))


class _Plan(msgspec.Struct, frozen=True):
    """What a set of rules always sends, packed: a call takes a quarter of the time. `spend`: which rules are about
    money."""

    words: int
    call: bytes
    counters: bytes
    rules: bytes
    spend: tuple[int, ...]


class Answer(msgspec.Struct, frozen=True):
    """`spend`: the states that are about money, as they were at `at_ms`."""

    verdict: Verdict
    spend: Sequence[State]
    at_ms: int


class LimitScript:
    """Times are in ms since 1970; SERVER_TIME is the server's own clock. Raises ValueError for rules that cannot go
    together."""

    def __init__(self, scripts: BatchedScripts) -> None:
        source = "".join((resources.files("adapters") / part).read_text(encoding="utf-8") for part in PARTS)
        self._script = Script(source)
        self._scripts = scripts
        self._plans: dict[tuple[Rule, ...], _Plan] = {}

    def admit(
        self,
        rules: tuple[Rule, ...],
        demand: Demand,
        seeds: Mapping[Rule, tuple[int, int]] = NO_SEEDS,
        now_ms: int = SERVER_TIME,
    ) -> ScriptCall:
        """Its reply is for `answer`."""
        sown: list[int] = []
        for rule, (spent, start_ms) in seeds.items() if seeds else ():
            sown += (rules.index(rule) + 1, countable(spent), start_ms)
        return self._call(ADMIT, rules, demand.request_id, demand.tokens, demand.nanos, now_ms, sown)

    def answer(self, rules: tuple[Rule, ...], packed: bytes) -> Answer | Unseeded:
        reply = unpack(f"<{len(packed) // 8}q", packed)
        if reply[0] == UNKNOWN:
            return Unseeded(tuple((rules[reply[at] - 1], reply[at + 1]) for at in range(1, len(reply), 2)))
        verdict = _verdict(rules, reply)
        return Answer(verdict, [verdict.states[index] for index in self._plan(rules).spend], reply[STATES_AT - 1])

    def adopt(self, rules: tuple[Rule, ...], demand: Demand, now_ms: int = SERVER_TIME) -> ScriptCall:
        """It runs already: hold it against its rules whatever they say, unless it is known to have ended."""
        return self._call(ADOPT, rules, demand.request_id, demand.tokens, demand.nanos, now_ms)

    def finish(
        self, rules: tuple[Rule, ...], request_id: RequestId, tokens: int, nanos: int, now_ms: int = SERVER_TIME
    ) -> ScriptCall:
        return self._call(FINISH, rules, request_id, countable(tokens), countable(nanos), now_ms)

    def touch(self, rules: tuple[Rule, ...], request_id: RequestId, now_ms: int = SERVER_TIME) -> ScriptCall:
        return self._call(TOUCH, rules, request_id, 0, 0, now_ms)

    def _call(
        self,
        operation: bytes,
        rules: tuple[Rule, ...],
        request_id: RequestId,
        tokens: int,
        nanos: int,
        now_ms: int,
        seeds: Sequence[int] = (),
    ) -> ScriptCall:
        plan, ident = self._plan(rules), request_id.encode()
        command = COMMAND % (
            plan.words + len(seeds),
            plan.call,
            len(RECORD) + len(ident),
            RECORD,
            ident,
            plan.counters,
            operation,
            NUMBERS.pack(now_ms, tokens, nanos),
            plan.rules + _words(seeds) if seeds else plan.rules,
        )
        return self._scripts.send(self._script, command)

    def _plan(self, rules: tuple[Rule, ...]) -> _Plan:
        plan = self._plans.get(rules)
        if plan is None:
            check_rules(rules)
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            plan = self._plans[rules] = _planned(self._script, rules)
        return plan


def _planned(script: Script, rules: tuple[Rule, ...]) -> _Plan:
    packed = b"".join([RULE.pack(KINDS[rule.kind], WINDOWS[rule.window], rule.limit) for rule in rules])
    return _Plan(
        words=FIXED_WORDS + len(rules),
        call=_words(["EVALSHA", script.sha, 1 + len(rules)]),
        counters=_words([f"{COUNTER}{rule.counter}" for rule in rules]),
        rules=_words([packed]),
        spend=tuple(index for index, rule in enumerate(rules) if rule.kind == "spend"),
    )


def _verdict(rules: tuple[Rule, ...], reply: tuple[int, ...]) -> Verdict:
    states = tuple(map(State, rules, reply[STATES_AT::2], reply[STATES_AT + 1 :: 2]))
    if reply[0] == ALLOWED:
        return Verdict(True, states)
    binding, wait_ms = reply[1], reply[2]
    retry_after_s = None if wait_ms < 0 else up_to_seconds(wait_ms)
    refusing = rules[binding - 1] if binding else None
    return Verdict(allowed=False, states=states, binding=refusing, retry_after_s=retry_after_s)
