"""The limits on a routed request's way, asked one by one: whose they are, how much is held, and what is told."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from commands.answer_request import AnswerRequest
from commands.holds import NOTHING_HELD, Held, Hold, Holds
from commands.route_limits import RouteLimits, rules_of_deployment, soonest
from commands.route_plan import Candidate
from domain.deployment import Deployment, Limits
from domain.errors import AggregatorError, Busy, DeploymentsFull, Unavailable
from domain.ids import AccountId
from domain.limits import MAX_AMOUNT, SECOND_MS, Rule, Verdict
from tests.answering import UNPRICED_NANOS, command
from tests.failing_over import OUTPUT, Line, RouteHouse
from tests.limits import NOW_MS, BookLimiter, rule

RPM, TPM, SLOTS = rules_of_deployment("a", Limits(rpm=2, tpm=5_000, concurrent=2))
NONE = Limits()
PER_NAME = rule("requests", "minute", 1, "acc_1/m-b", "model")
SPEND = rule("spend", "day", 10**12, "acc_1/m-b", "model")


class Way:
    """One deployment, `a`, and what a caller's limits say of names."""

    def __init__(self, limits: Limits = NONE, names: Mapping[str, Sequence[Rule]] = {}) -> None:
        self.house = RouteHouse(Line("a"), Line("b"), times={"b": 3})
        self.limiter = BookLimiter()
        self.holds = Holds(self.limiter, self.now_s)
        self.deployed = {
            "a": Deployment(name="a", model="m-a", provider="a", upstream_model="u", limits=limits),
        }
        self.asked: list[tuple[AccountId, str]] = []
        self.names = names
        self.limits = RouteLimits(self.holds, lambda: self.deployed, self._rules, UNPRICED_NANOS, self.now_s)
        self.plan = self.house.plan()

    def now_s(self) -> float:
        return (self.limiter.now_ms - NOW_MS) / SECOND_MS

    def _rules(self, account_id: AccountId, name: str) -> Sequence[Rule]:
        self.asked.append((account_id, name))
        return self.names.get(name, ())

    def command(self, **changes: Any) -> AnswerRequest:
        return command(route=self.plan, **changes)

    @property
    def candidate(self) -> Candidate:
        return self.plan.candidates[0]

    async def ask(self, **changes: Any) -> Held | Verdict:
        return await self.limits.of_deployment(self.command(**changes), self.candidate)

    async def fall_back(self) -> Held | None:
        return await self.limits.of_fallback(self.command(), "m-b", self.plan.candidates)

    def full(self, in_flight: int = 0) -> Verdict | None:
        return self.limits.full(self.deployed["a"], in_flight)


def test_a_deployments_limits_become_rules_that_can_be_counted() -> None:
    assert rules_of_deployment("d", Limits()) == ()
    assert rules_of_deployment("d", Limits(rpm=10**18)) == (Rule("deployment", "d", "requests", "minute", MAX_AMOUNT),)
    assert [each.counter for each in (RPM, TPM, SLOTS)] == [
        "deployment:requests:minute:a",
        "deployment:tokens:minute:a",
        "deployment:concurrent:none:a",
    ]


async def test_a_deployment_without_limits_asks_nobody() -> None:
    way = Way()

    assert await way.ask() is NOTHING_HELD
    del way.deployed["a"]
    assert await way.ask() is NOTHING_HELD
    assert way.limiter.asked == []


async def test_a_call_holds_its_estimate_and_gives_back_what_it_did_not_use() -> None:
    way = Way(Limits(rpm=2, tpm=5_000, concurrent=2))
    asked = way.command(choices=3)
    estimate = asked.call.input_estimate + 3 * OUTPUT

    held = await way.limits.of_deployment(asked, way.candidate)
    assert [await way.limiter.left(each) for each in (RPM, TPM, SLOTS)] == [1, 5_000 - estimate, 1]

    assert isinstance(held, Hold)
    held.ended(7, 0)
    assert [await way.limiter.left(each) for each in (RPM, TPM, SLOTS)] == [1, 4_993, 2]


async def test_each_call_of_a_request_is_held_by_itself() -> None:
    way = Way(Limits(concurrent=2))

    first, second, third = [await way.ask() for _ in range(3)]

    assert isinstance(first, Hold)
    assert isinstance(second, Hold)
    assert isinstance(third, Verdict)
    assert third.retry_after_s == 1
    first.ended(0, 0)
    assert isinstance(await way.ask(), Hold)
    assert len({demand.request_id for demand in way.limiter.asked}) == len(way.limiter.asked)


async def test_a_refusal_says_when_and_nothing_of_other_peoples_traffic() -> None:
    way = Way(Limits(rpm=1))
    await way.ask()
    way.limiter.now_ms += 20 * SECOND_MS

    full = await way.ask()

    assert full == Verdict(allowed=False, binding=Rule("deployment", "a", "requests", "minute", 1), retry_after_s=41)
    assert isinstance(full, Verdict)
    assert "41 s" in str(DeploymentsFull(full))


async def test_a_request_that_never_fits_is_told_to_become_smaller() -> None:
    way = Way(Limits(tpm=OUTPUT))

    full = await way.ask()

    assert isinstance(full, Verdict)
    assert full.retry_after_s is None
    assert "max_completion_tokens" in str(DeploymentsFull(full))


@pytest.mark.parametrize("failure", [Unavailable("Away."), Busy("Too many.")])
async def test_without_a_limiter_a_deployment_is_called_and_a_fallback_is_not(failure: AggregatorError) -> None:
    way = Way(Limits(rpm=1), {"m-b": [SPEND]})
    way.limiter.fails = failure

    assert await way.ask() is NOTHING_HELD
    assert await way.fall_back() is None


async def test_a_full_minute_is_remembered_for_exactly_as_long() -> None:
    way = Way(Limits(rpm=1))
    await way.ask()
    assert way.full() is None
    way.limiter.now_ms += 20 * SECOND_MS + 300
    await way.ask()

    told: list[int | None] = []
    while (known := way.full()) is not None:
        told.append(known.retry_after_s)
        assert isinstance(await way.ask(), Verdict)
        way.limiter.now_ms += SECOND_MS // 2
    way.limiter.now_ms += SECOND_MS

    assert told[0] == 41
    assert told == sorted(told, reverse=True, key=lambda wait: wait or 0)
    assert isinstance(await way.ask(), Hold)


async def test_other_refusals_are_not_remembered_as_they_may_end_at_any_time() -> None:
    way = Way(Limits(rpm=9, tpm=600, concurrent=9))
    held = await way.ask()
    assert isinstance(await way.ask(), Verdict)

    assert way.full() is None
    assert isinstance(held, Hold)


def test_calls_of_this_process_alone_can_fill_a_deployment() -> None:
    way = Way(Limits(concurrent=2))

    full = way.full(2)

    assert way.full(1) is None
    assert full is not None
    assert full.retry_after_s == 1


async def test_a_changed_limit_is_asked_about_anew() -> None:
    way = Way(Limits(rpm=1))
    await way.ask()
    await way.ask()
    assert way.full() is not None

    way.deployed["a"] = Deployment(name="a", model="m-a", provider="a", upstream_model="u", limits=Limits(rpm=2))

    assert way.full() is None
    assert isinstance(await way.ask(), Hold)


async def test_a_fallback_is_held_under_the_callers_limits_of_its_name_at_its_dearest() -> None:
    way = Way(names={"m-b": [PER_NAME, SPEND]})
    asked = way.command()

    held = await way.fall_back()

    assert way.asked == [(asked.account_id, "m-b")]
    dearest = max(asked.ceiling_nanos(candidate, UNPRICED_NANOS) for candidate in way.plan.candidates)
    (demand,) = way.limiter.asked
    assert (demand.tokens, demand.nanos) == (asked.call.input_estimate + OUTPUT, dearest)
    assert await way.fall_back() is None
    assert isinstance(held, Hold)
    held.ended(5, 30)
    assert await way.limiter.left(SPEND) == SPEND.limit - 30


async def test_a_fallback_that_nobody_limits_asks_nobody() -> None:
    way = Way()

    assert await way.fall_back() is NOTHING_HELD
    assert way.limiter.asked == []


def test_the_one_that_is_free_again_first_is_told() -> None:
    never, soon, late = [Verdict(allowed=False, binding=RPM, retry_after_s=wait_s) for wait_s in (None, 3, 30)]

    assert soonest(None, never) is never
    assert soonest(never, late, None, soon) is soon
    assert soonest() is None
