"""The limits of the catalogue, held against one AI request: all of them at once before it is admitted, corrected at
its end."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from commands.holds import Hold, Holds
from domain.declared_limits import EACH, LimitsSet
from domain.errors import BudgetExhausted, RateLimited
from domain.ids import AccountId, KeyId
from domain.limit_headers import raw_headers_of
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


class Limited(msgspec.Struct, frozen=True):
    """Who is limited, asking by which name: the one that the catalogue has for it, however it was spelt."""

    account_id: AccountId
    key_id: KeyId | None
    asked_for: str


class Permit(Protocol):
    """Of one request that is within its limits. `headers` are told with its answer."""

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...

    def ended(self, tokens: int | None, nanos: int) -> None:
        """What it really used; zeros if it never ran. `tokens` None: nobody knows how many, and it stays at what was
        reserved. What the same process asks later comes after it."""
        ...


class _Unlimited:
    headers: Sequence[tuple[bytes, bytes]] = ()

    def ended(self, tokens: int | None, nanos: int) -> None:
        return


class _Held:
    __slots__ = ("_headers", "_hold", "ended")

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._headers: Sequence[tuple[bytes, bytes]] | None = None
        self.ended = hold.ended

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        if self._headers is None:
            self._headers = raw_headers_of(self._hold.verdict)
        return self._headers


UNLIMITED = _Unlimited()


class RateLimits:
    """`declared` are the catalogue's limits, as they are now; the same object as long as they do not change. A model's
    limits hold for who asks by that name, whoever answers, and for who falls back to it. `unpriced_nanos` is what use
    without a price is held at."""

    def __init__(self, holds: Holds, declared: Callable[[], Sequence[LimitsSet]], unpriced_nanos: int) -> None:
        self._holds = holds
        self.unpriced_nanos = unpriced_nanos
        self._declared = declared
        self._known: Sequence[LimitsSet] = ()
        self._by_place: dict[tuple[Scope, str], LimitsSet] = {}
        self._rules: dict[tuple[str, ...], Rules] = {}

    def admit(self, who: Limited, demand: Demand) -> Awaitable[Permit]:
        """Raises RateLimited, BudgetExhausted, Unavailable, Busy. Tokens are held by estimate, spend by its ceiling."""
        return self._held(self._rules_of(who), demand)

    def admit_unasked(self, who: Limited, demand: Demand) -> Awaitable[Permit]:
        """What the gateway asks by itself, on its caller's account: only its cost counts. Raises as `admit` does."""
        spend = [rule for rule in self._rules_of(who) if rule.kind == "spend"]
        return self._held(tuple(spend), demand)

    def admit_further(self, who: Limited, demand: Demand) -> Awaitable[Permit]:
        """What one that is held already may use beyond that: no further request. Raises as `admit` does."""
        amounts = [rule for rule in self._rules_of(who) if rule.kind in ("tokens", "spend")]
        return self._held(tuple(amounts), demand)

    async def _held(self, rules: Rules, demand: Demand) -> Permit:
        if not rules:
            return UNLIMITED
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

    def _rules_of(self, who: Limited) -> Rules:
        names = (who.key_id or "", who.account_id, who.asked_for)
        rules = self._at_hand().get(names)
        return self._made(names, _places(*names)) if rules is None else rules

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
