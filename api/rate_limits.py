"""The limits of the catalogue, held against one AI request: all of them at once before it is admitted, corrected at
its end."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from api.auth import Caller
from commands.answer_request import AnswerRequest
from domain.declared_limits import EACH, LimitsSet
from domain.errors import BudgetExhausted, RateLimited
from domain.ids import RequestId
from domain.limit_headers import headers_of
from domain.limits import Demand, Kind, Limiter, Rule, Scope, Verdict, Window

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
    def __init__(self, limiter: Limiter, rules: Rules, request_id: RequestId, verdict: Verdict) -> None:
        self._limiter = limiter
        self._rules = rules
        self._request_id = request_id
        self.headers: Sequence[tuple[bytes, bytes]] = [
            (name.encode(), value.encode()) for name, value in headers_of(verdict)
        ]

    async def end(self, tokens: int, nanos: int) -> None:
        await self._limiter.finish(self._rules, self._request_id, tokens, nanos)


UNLIMITED = _Unlimited()


class RateLimits:
    """`declared` are the catalogue's limits, as they are now; the same object as long as they do not change. A model's
    limits hold for who asks by that name, whoever answers. `unpriced_nanos` is what use without a price is held at."""

    def __init__(self, limiter: Limiter, declared: Callable[[], Sequence[LimitsSet]], unpriced_nanos: int) -> None:
        self._limiter = limiter
        self._unpriced_nanos = unpriced_nanos
        self._declared = declared
        self._known: Sequence[LimitsSet] = ()
        self._by_place: dict[tuple[Scope, str], LimitsSet] = {}
        self._rules: dict[tuple[str, ...], Rules] = {}

    async def admit(self, caller: Caller, asked_for: str, command: AnswerRequest) -> Permit:
        """Raises RateLimited, BudgetExhausted, Unavailable, Busy. Tokens are held by estimate, spend by its ceiling."""
        rules = self._rules_of(caller, asked_for)
        if not rules:
            return UNLIMITED
        call = command.call
        tokens = call.input_estimate + call.max_output_tokens * command.choices
        demand = Demand(call.request_id, tokens, command.dearest_nanos(self._unpriced_nanos))
        verdict = await self._limiter.admit(rules, demand)
        if verdict.allowed:
            return _Held(self._limiter, rules, call.request_id, verdict)
        if verdict.binding is not None and verdict.binding.kind == "spend":
            raise BudgetExhausted(verdict)
        raise RateLimited(verdict)

    def _rules_of(self, caller: Caller, asked_for: str) -> Rules:
        declared = self._declared()
        if declared is not self._known:
            self._known = declared
            self._by_place = {(limits.scope, limits.subject): limits for limits in declared}
            self._rules.clear()
        who = (caller.key_id or "", caller.account_id, asked_for)
        rules = self._rules.get(who)
        if rules is None:
            if len(self._rules) >= REMEMBERED:
                self._rules.clear()
            rules = self._rules[who] = self._made(*who)
        return rules

    def _made(self, key_id: str, account_id: str, asked_for: str) -> Rules:
        """Each account has counters of its own for a model and for its plan: nobody sees another's traffic in them."""
        places: tuple[tuple[Scope, str, str], ...] = (
            ("key", key_id, key_id),
            ("account", account_id, account_id),
            ("model", asked_for, f"{account_id}/{asked_for}"),
            ("plan", DEFAULT_PLAN, f"{account_id}/{DEFAULT_PLAN}"),
        )
        rules: list[Rule] = []
        for scope, name, subject in places:
            limits = self._by_place.get((scope, name)) or self._by_place.get((scope, EACH))
            if name and limits is not None:
                rules += _rules(limits, scope, subject)
        return tuple(rules)


def _rules(limits: LimitsSet, scope: Scope, subject: str) -> list[Rule]:
    said = msgspec.structs.asdict(limits)
    return [Rule(scope, subject, kind, window, said[name]) for name, kind, window in AMOUNTS if said[name] is not None]
