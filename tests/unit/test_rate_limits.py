"""Whose limits hold a request: its key's, account's, plan's and those of the name it asks for, as declared now."""

import msgspec
import pytest

from api.auth import Caller
from api.rate_limits import UNLIMITED, Limited, Permit, RateLimits
from commands.holds import Holds
from domain.declared_limits import EACH, LimitsSet
from domain.errors import BudgetExhausted, RateLimited
from domain.ids import AccountId, KeyId, UserId
from domain.limits import Rule, Scope
from tests.limits import BookLimiter, demand
from tests.money import AT

CALLER = Caller(AccountId("acc"), UserId("u"), KeyId("k1"), None, "member")
OTHER = msgspec.structs.replace(CALLER, account_id=AccountId("other"), key_id=KeyId("k2"))


def told(scope: Scope, subject: str, **amounts: int) -> LimitsSet:
    return msgspec.structs.replace(LimitsSet(scope=scope, subject=subject, at=AT), **amounts)


class Desk:
    def __init__(self, *declared: LimitsSet) -> None:
        self.declared = declared
        self.limiter = BookLimiter()
        self.holds = Holds(self.limiter, lambda: 0.0)
        self.limits = RateLimits(self.holds, lambda: self.declared, 0)
        self.count = 0

    async def ask(self, caller: Caller = CALLER, model: str = "fast") -> Permit:
        self.count += 1
        who = Limited(caller.account_id, caller.key_id, model)
        return await self.limits.admit(who, demand(f"r{self.count}", 520, 1_000))

    def of_model(self, name: str) -> list[str]:
        return [rule.counter for rule in self.limits.of_model(CALLER.account_id, name)]


async def test_where_nothing_is_declared_nobody_is_asked() -> None:
    desk = Desk(told("model", "other", requests_per_minute=1), told("key", "k9", requests_per_minute=1))

    assert await desk.ask() is UNLIMITED
    assert desk.limiter.asked == []


@pytest.mark.parametrize(("scope", "subject"), [("key", "k1"), ("account", "acc"), ("model", "fast"), ("plan", EACH)])
async def test_the_limits_of_each_scope_hold_who_is_in_it_and_nobody_else(scope: Scope, subject: str) -> None:
    desk = Desk(told(scope, subject, requests_per_minute=2))

    permit = await desk.ask()
    await desk.ask()
    with pytest.raises(RateLimited) as refusal:
        await desk.ask()

    assert refusal.value.verdict.retry_after_s == 61
    assert (b"ratelimit", b'"%s-requests-minute";r=1;t=61' % scope.encode()) in permit.headers
    await desk.ask(OTHER)


async def test_what_a_request_did_not_use_is_given_back_at_its_end() -> None:
    desk = Desk(told("account", EACH, tokens_per_day=1_000))
    (rule,) = [Rule("account", "acc", "tokens", "day", 1_000)]

    permit = await desk.ask()
    held = await desk.limiter.left(rule)
    permit.ended(13, 0)

    assert (held, await desk.limiter.left(rule)) == (1_000 - 520, 987)


async def test_a_request_that_may_cost_more_than_is_left_is_a_matter_of_budget() -> None:
    desk = Desk(told("key", "k1", spend_per_day_nanos=5, requests_per_minute=9))

    with pytest.raises(BudgetExhausted):
        await desk.ask()


async def test_who_falls_back_to_a_name_shares_its_counters_with_who_asks_for_it() -> None:
    desk = Desk(
        told("model", EACH, requests_per_minute=1),
        told("model", "fast", requests_per_minute=2, concurrent=3),
        told("account", EACH, requests_per_minute=9),
    )

    assert desk.of_model("fast") == ["model:requests:minute:acc/fast", "model:concurrent:none:acc/fast"]
    assert desk.of_model("any") == ["model:requests:minute:acc/any"]


async def test_what_is_declared_anew_holds_from_then_on() -> None:
    desk = Desk(told("model", "fast", requests_per_minute=1))
    await desk.ask()
    assert desk.of_model("fast")

    desk.declared = (told("model", "slow", requests_per_minute=1),)

    assert desk.of_model("fast") == []
    assert await desk.ask() is UNLIMITED
