"""The limits of the catalogue, held against one AI request: all of them at once before it is admitted, corrected at
its end."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from commands.answer_request import AnswerRequest
from commands.holds import Hold, Holds
from domain.declared_limits import EACH, LimitsSet
from domain.errors import BudgetExhausted, RateLimited
from domain.ids import AccountId
from domain.limit_headers import headers_of
from domain.limits import Demand, Kind, Rule, Scope, Window

DEFAULT_PLAN = "default"
"""Everybody's, until there are subscriptions."""
REMEMBERED = 10_000
"""Callers whose rules are at hand."""
AMOUNTS: tuple[tuple[str, Kind, Window], ...] = (
    ("requests_per_minute", "requests", "minute"),
    ("requests_per_day", "requests", "day"),
    ("tokens_per_minute", "tokens", "minute"),
    ("tokens_per_day", "tokens", "day"),
    ("concurrent", "concurrent", "none"),
    ("spend_per_day_nanos", "spend", "day"),
    ("spend_per_month_nanos", "spend", "month"),
)
Rules = tuple[Rule, ...]
Place = tuple[Scope, str, str]
"""Where limits are declared: a scope and a name in it; and whose counter it is."""


class Permit(Protocol):
    """Of one request that is within its limits. `headers` are told with its answer."""

    headers: Sequence[tuple[bytes, bytes]]

    async def end(self, tokens: int, nanos: int) -> None:
        """What it really used; zeros if it never ran."""
        ...


class _Unlimited:
    headers: Sequence[tuple[bytes, bytes]] = ()

    async def end(self, tokens: int, nanos: int) -> None:
        return


class _Held:
    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self.headers: Sequence[tuple[bytes, bytes]] = [
            (name.encode(), value.encode()) for name, value in headers_of(hold.verdict)
        ]

    async def end(self, tokens: int, nanos: int) -> None:
        await self._hold.end(tokens, nanos)


UNLIMITED = _Unlimited()


class RateLimits:
    """`declared` are the catalogue's limits, as they are now; the same object as long as they do not change. A model's
    limits hold for who asks by that name, whoever answers, and for who falls back to it. `unpriced_nanos` is what use
    without a price is held at."""

    def __init__(self, holds: Holds, declared: Callable[[], Sequence[LimitsSet]], unpriced_nanos: int) -> None:
        self._holds = holds
        self._unpriced_nanos = unpriced_nanos
        self._declared = declared
        self._known: Sequence[LimitsSet] = ()
        self._by_place: dict[tuple[Scope, str], LimitsSet] = {}
        self._rules: dict[tuple[str, ...], Rules] = {}

    async def admit(self, command: AnswerRequest) -> Permit:
        """Raises RateLimited, BudgetExhausted, Unavailable, Busy. Tokens are held by estimate, spend by its ceiling."""
        return await self._held(self._rules_of(command), command)

    async def admit_unasked(self, command: AnswerRequest) -> Permit:
        """What the gateway asks by itself, on its caller's account: only its cost counts. Raises as `admit` does."""
        spend = [rule for rule in self._rules_of(command) if rule.kind == "spend"]
        return await self._held(tuple(spend), command)

    async def _held(self, rules: Rules, command: AnswerRequest) -> Permit:
        if not rules:
            return UNLIMITED
        call = command.call
        tokens = call.input_estimate + call.max_output_tokens * command.choices
        demand = Demand(call.request_id, tokens, command.dearest_nanos(self._unpriced_nanos))
        held = await self._holds.take(rules, demand)
        if isinstance(held, Hold):
            return _Held(held)
        if held.binding is not None and held.binding.kind == "spend":
            raise BudgetExhausted(held)
        raise RateLimited(held)

    def of_model(self, account_id: AccountId, name: str) -> Rules:
        """Those of the name alone, for who falls back to it."""
        who = (account_id, name)
        rules = self._at_hand().get(who)
        return self._made(who, (_of_model(*who),)) if rules is None else rules

    def _rules_of(self, command: AnswerRequest) -> Rules:
        who = (command.key_id or "", command.account_id, command.asked_for)
        rules = self._at_hand().get(who)
        return self._made(who, _places(*who)) if rules is None else rules

    def _at_hand(self) -> dict[tuple[str, ...], Rules]:
        """None of what was declared before."""
        declared = self._declared()
        if declared is not self._known:
            self._known = declared
            self._by_place = {(limits.scope, limits.subject): limits for limits in declared}
            self._rules.clear()
        return self._rules

    def _made(self, who: tuple[str, ...], places: Sequence[Place]) -> Rules:
        rules: list[Rule] = []
        for scope, name, subject in places:
            limits = self._by_place.get((scope, name)) or self._by_place.get((scope, EACH))
            if name and limits is not None:
                rules += _rules(limits, scope, subject)
        if len(self._rules) >= REMEMBERED:
            self._rules.clear()
        self._rules[who] = tuple(rules)
        return self._rules[who]


def _places(key_id: str, account_id: str, asked_for: str) -> Sequence[Place]:
    """Each account has counters of its own for a model and for its plan: nobody sees another's traffic in them."""
    return (
        ("key", key_id, key_id),
        ("account", account_id, account_id),
        _of_model(account_id, asked_for),
        ("plan", DEFAULT_PLAN, f"{account_id}/{DEFAULT_PLAN}"),
    )


def _of_model(account_id: str, name: str) -> Place:
    return "model", name, f"{account_id}/{name}"


def _rules(limits: LimitsSet, scope: Scope, subject: str) -> list[Rule]:
    said = msgspec.structs.asdict(limits)
    return [Rule(scope, subject, kind, window, said[name]) for name, kind, window in AMOUNTS if said[name] is not None]
