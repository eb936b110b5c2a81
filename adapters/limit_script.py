"""`limiter.lua` on Valkey: all rules of a request in one call.

All keys share one hash tag, so that a call is whole on a cluster too, where one node then does the limits of all.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

import msgspec

from adapters.valkey_scripts import BatchedScripts, Script, ScriptCall
from domain.ids import RequestId
from domain.limit_book import NO_SEEDS, countable
from domain.limits import Demand, Rule, State, Unseeded, Verdict, check_rules, up_to_seconds

PARTS = ("limit_counter.lua", "limiter.lua")
COUNTER = "agg:{limits}:"
RECORD = b"agg:{limits}:record:"
KINDS = {"requests": "r", "tokens": "t", "spend": "s", "concurrent": "c"}
WINDOWS = {"minute": "m", "day": "d", "month": "M", "none": "-"}
SERVER_TIME = 0
MAX_PLANS = 10_000
REFUSED, ALLOWED, UNKNOWN = 0, 1, 2
STATES_AT = 4
"""Where they begin in a reply."""


def _words(values: Iterable[bytes | str | int]) -> bytes:
    """As the protocol has them in a command."""
    encoded = [value if isinstance(value, bytes) else str(value).encode() for value in values]
    return b"".join([b"$%d\r\n%b\r\n" % (len(value), value) for value in encoded])


COMMAND = b"*%d\r\n%b$%d\r\n%b%b\r\n%b%b%b$16\r\n%016d\r\n$16\r\n%016d\r\n%b"
"""How many words; the call; the record's key; counters, operation, time; tokens, nano-USD; rules and seeds. No amount
has more than 16 digits."""
FIXED_WORDS = 8
"""EVALSHA, the script, how many keys, the record's key, operation, time, tokens, nano-USD."""
ADMIT, ADOPT, FINISH, TOUCH = (_words([operation]) for operation in ("admit", "adopt", "finish", "touch"))
SERVER_CLOCK = _words([SERVER_TIME])


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

    def answer(self, rules: tuple[Rule, ...], reply: list[int]) -> Answer | Unseeded:
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
            SERVER_CLOCK if now_ms == SERVER_TIME else _words([now_ms]),
            tokens,
            nanos,
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
    codes: list[str | int] = []
    for rule in rules:
        codes += (f"{KINDS[rule.kind]}{WINDOWS[rule.window]}", rule.limit)
    return _Plan(
        words=FIXED_WORDS + len(rules) + len(codes),
        call=_words(["EVALSHA", script.sha, 1 + len(rules)]),
        counters=_words([f"{COUNTER}{rule.counter}" for rule in rules]),
        rules=_words(codes),
        spend=tuple(index for index, rule in enumerate(rules) if rule.kind == "spend"),
    )


def _verdict(rules: tuple[Rule, ...], reply: list[int]) -> Verdict:
    states = tuple(map(State, rules, reply[STATES_AT::2], reply[STATES_AT + 1 :: 2]))
    if reply[0] == ALLOWED:
        return Verdict(True, states)
    binding, wait_ms = reply[1], reply[2]
    retry_after_s = None if wait_ms < 0 else up_to_seconds(wait_ms)
    refusing = rules[binding - 1] if binding else None
    return Verdict(allowed=False, states=states, binding=refusing, retry_after_s=retry_after_s)
