"""A routed request and the limits on its way: nobody is called beyond them, and whatever it held it gives back."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.calls_under_way import CallsUnderWay
from commands.route_limits import rules_of_deployment
from domain.deployment import Limits
from domain.errors import AggregatorError, DeploymentsFull
from domain.ids import RequestId
from domain.limits import SECOND_MS, Kind, Rule
from domain.request import RequestFailed
from tests.answering import RESERVED, command, reply, used
from tests.failing_over import GOOD, GOOD_STREAM, HANG, OUTPUT, Line, RouteHouse, Script
from tests.limits import demand, rule
from tests.routing import BROKEN, DOWN, TIMEOUT, UNREACHABLE

BOTH = pytest.mark.parametrize("stream", [False, True])
ESTIMATE = 20 + OUTPUT
ONE_A_MINUTE = Limits(rpm=1)
TOKENS = Limits(tpm=10_000)


class LimitedHouse(RouteHouse):
    def limit(self, name: str, limits: Limits) -> None:
        deployed = self.catalogue.deployed
        deployed[name] = msgspec.structs.replace(deployed[name], limits=limits)

    def of(self, name: str, kind: Kind) -> Rule:
        return next(one for one in rules_of_deployment(name, self.catalogue.deployed[name].limits) if one.kind == kind)

    async def fill(self, name: str) -> None:
        """As another worker's call would."""
        rules = rules_of_deployment(name, self.catalogue.deployed[name].limits)
        await self.limiter.admit(rules, demand(f"elsewhere/{name}"))

    async def used(self, one: Rule) -> int:
        await self.settles()
        return one.limit - await self.limiter.left(one)

    def called(self) -> dict[str, int]:
        return {name: len(line.calls) for name, line in self.lines.items()}


@BOTH
async def test_a_full_deployment_is_passed_over_and_nobody_calls_it_a_failure(stream: bool) -> None:
    house = LimitedHouse(Line("a"), Line("b"))
    house.limit("a", ONE_A_MINUTE)
    await house.fill("a")

    _, _, error = await house.answer(stream=stream)

    assert (error, house.check_books().deployment, house.called()) == (None, "b", {"a": 0, "b": 1})
    assert (house.attempts, house.check_books().attempts) == ([], 1)
    assert (house.breakers.left, [name for name, _ in house.breakers.told]) == (["a"], ["b"])


@BOTH
async def test_when_all_are_full_the_client_is_told_when_the_first_is_free_again(stream: bool) -> None:
    house = LimitedHouse(Line("a"), Line("b"))
    for name in ("a", "b"):
        house.limit(name, ONE_A_MINUTE)
        await house.fill(name)
        house.limiter.now_ms += 20 * SECOND_MS

    running, pieces, error = await house.answer(stream=stream)

    end = house.check_books()
    assert isinstance(error, DeploymentsFull)
    assert (error.verdict.retry_after_s, error.verdict.states) == (21, ())
    assert isinstance(end, RequestFailed)
    assert (end.error_kind, end.cost_nanos, house.called(), pieces) == ("rate_limited", 0, {"a": 0, "b": 0}, [])
    assert not running.forbids_repeat(error)


async def test_what_this_worker_knows_to_be_full_is_refused_before_anything_is_recorded() -> None:
    house = LimitedHouse(Line("a"))
    house.limit("a", ONE_A_MINUTE)
    await house.fill("a")
    await house.answer(stream=False)
    recorded = len(house.requests.events)

    with pytest.raises(DeploymentsFull) as refusal:
        house.plan()

    assert refusal.value.verdict.retry_after_s == 61
    assert len(house.requests.events) == recorded


async def test_a_route_whose_deployments_are_known_to_be_full_falls_back() -> None:
    house = LimitedHouse(Line("a"), Line("b"), deployments=["a"], fallback_models=("m-b",), attempts_max=1)
    house.limit("a", Limits(concurrent=1))
    house.views.began("a")

    plan = house.plan()

    assert [each.name for each in plan.trail] == ["fast", "m-b"]
    assert plan.full is not None
    assert plan.full.binding == house.of("a", "concurrent")


async def test_what_a_provider_said_tells_more_than_that_another_is_full() -> None:
    house = LimitedHouse(Line("a", UNREACHABLE), Line("b"), attempts_max=2)
    house.limit("a", Limits(rpm=1))
    house.limit("b", ONE_A_MINUTE)
    await house.fill("b")

    _, _, error = await house.answer(stream=False)

    assert error is UNREACHABLE
    assert house.called() == {"a": 1, "b": 0}


async def test_the_same_deployment_asked_again_counts_again() -> None:
    house = LimitedHouse(Line("a", DOWN), attempts_max=4)
    house.limit("a", Limits(rpm=3))

    await house.answer(stream=False)

    assert house.called() == {"a": 3}
    assert (await house.used(house.of("a", "requests")), house.check_books().attempts) == (3, 3)


@BOTH
@pytest.mark.parametrize(("script", "counted"), [(DOWN, 0), (UNREACHABLE, 0), (TIMEOUT, ESTIMATE), (BROKEN, ESTIMATE)])
async def test_tokens_of_a_failed_call_are_given_back_unless_the_provider_may_have_worked(
    script: Script, counted: int, stream: bool
) -> None:
    house = LimitedHouse(Line("a", script), Line("b"))
    house.limit("a", TOKENS)
    house.limit("b", TOKENS)

    await house.answer(stream=stream)

    assert await house.used(house.of("a", "tokens")) == counted
    assert await house.used(house.of("b", "tokens")) == 15


@BOTH
async def test_an_answer_without_usage_stays_at_the_estimate(stream: bool) -> None:
    house = LimitedHouse(Line("a", GOOD_STREAM[:2] if stream else reply(None)))
    house.limit("a", TOKENS)

    await house.answer(stream=stream)

    assert await house.used(house.of("a", "tokens")) == ESTIMATE


async def test_who_is_cancelled_gives_its_place_back() -> None:
    house = LimitedHouse(Line("a", HANG))
    house.limit("a", Limits(tpm=10_000, concurrent=1))
    running = await house.admit()

    await house.cancelled(running)

    house.check_books()
    assert await house.used(house.of("a", "concurrent")) == 0
    assert await house.used(house.of("a", "tokens")) == ESTIMATE


async def test_who_is_cancelled_while_the_limits_are_asked_leaves_nothing_behind() -> None:
    house = LimitedHouse(Line("a"))
    house.limit("a", Limits(concurrent=1))
    house.limiter.silent = True

    await house.cancelled(await house.admit())

    house.limiter.silent = False
    assert (len(house.limiter.asked), house.called()) == (1, {"a": 0})
    house.check_books()
    assert await house.used(house.of("a", "concurrent")) == 0


async def test_of_two_that_run_side_by_side_each_is_held_and_given_back() -> None:
    house = LimitedHouse(Line("a", HANG), Line("b"), hedge_after_s=1.0)
    for name in ("a", "b"):
        house.limit(name, Limits(tpm=10_000, concurrent=1))

    _, _, error = await house.answer(stream=False)

    assert (error, house.check_books().deployment) == (None, "b")
    assert [await house.used(house.of(name, "concurrent")) for name in ("a", "b")] == [0, 0]
    assert [await house.used(house.of(name, "tokens")) for name in ("a", "b")] == [ESTIMATE, 15]


async def test_leave_that_is_not_used_gives_its_place_back() -> None:
    house = LimitedHouse(Line("a"))
    house.limit("a", Limits(concurrent=1))
    plan = house.plan()
    calls = CallsUnderWay(house.failover, command(route=plan), plan.full)

    leave = await calls.leave(plan.candidates[0])
    assert leave is not None
    assert await calls.leave(plan.candidates[0]) is None
    calls.unused(leave)
    await house.settles()

    assert (house.breakers.out, len(house.holds)) == ({}, 0)
    assert await calls.leave(plan.candidates[0]) is not None


async def test_that_those_fallen_back_to_are_full_is_told_as_well() -> None:
    house = LimitedHouse(Line("a"), Line("b"), deployments=["a"], fallback_models=("other",))
    house.add_route("other", "b")
    house.limit("b", Limits(concurrent=1))
    house.breakers.closed_off = {"a"}
    running = await house.admit()
    house.views.began("b")

    with pytest.raises(DeploymentsFull) as refusal:
        await house.handler.complete(running)

    assert refusal.value.verdict.retry_after_s == 1


class FallingBack(LimitedHouse):
    """`fast` is dead; it falls back to m-b, then to m-c."""

    def __init__(self, fallback: Script = GOOD) -> None:
        b = Line("b") if fallback is GOOD else Line("b", fallback)
        names = ("m-b", "m-c")
        super().__init__(Line("a", UNREACHABLE), b, Line("c"), deployments=["a"], fallback_models=names, attempts_max=1)
        self.names = {name: rule("requests", "minute", 1, f"acc/{name}", "model") for name in names}
        self.name_rules = {name: [one] for name, one in self.names.items()}


@BOTH
async def test_a_fallback_beyond_the_callers_own_limit_for_it_is_not_called(stream: bool) -> None:
    house = FallingBack()
    await house.limiter.admit([house.names["m-b"]], demand("earlier"))

    _, _, error = await house.answer(stream=stream)

    assert (error, house.check_books().model) == (None, "m-c")
    assert house.called() == {"a": 1, "b": 0, "c": 1}
    assert [attempt.deployment for attempt in house.attempts] == ["a"]


async def test_without_a_fallback_within_its_limits_the_first_failure_is_told() -> None:
    house = FallingBack()
    for name, one in house.names.items():
        await house.limiter.admit([one], demand(f"earlier/{name}"))

    _, _, error = await house.answer(stream=False)

    assert error is UNREACHABLE
    assert house.called() == {"a": 1, "b": 0, "c": 0}


@BOTH
async def test_a_fallback_is_held_until_the_requests_end_and_corrected_with_what_was_used(stream: bool) -> None:
    house = FallingBack()
    tokens = rule("tokens", "day", 100_000, "acc/m-b", "model")
    spend = rule("spend", "day", 10**12, "acc/m-b", "model")
    house.name_rules = {"m-b": [tokens, spend]}

    await house.answer(stream=stream)

    end = house.check_books()
    assert await house.used(tokens) == end.tokens.total == 15
    assert await house.used(spend) == end.cost_nanos == 30
    assert house.limiter.asked[0].tokens == ESTIMATE
    assert house.limiter.asked[0].nanos == RESERVED


@BOTH
async def test_a_fallback_that_is_the_first_to_be_asked_goes_through_its_limits_too(stream: bool) -> None:
    house = FallingBack()
    house.breakers.phases["a"] = "open"
    await house.limiter.admit([house.names["m-b"]], demand("earlier"))

    _, _, error = await house.answer(stream=stream)

    assert (error, house.check_books().model, house.called()) == (None, "m-c", {"a": 0, "b": 0, "c": 1})


async def test_a_fallback_that_is_cancelled_gives_its_place_back() -> None:
    house = LimitedHouse(
        Line("a", UNREACHABLE), Line("b", HANG), deployments=["a"], fallback_models=("m-b",), attempts_max=1
    )
    slots = rule("concurrent", "none", 1, "acc/m-b", "model")
    house.name_rules = {"m-b": [slots]}
    call = asyncio.create_task(house.handler.complete(await house.admit()))
    assert await house.used(slots) == 1
    assert house.lines["b"].working == 1

    call.cancel()
    await asyncio.wait({call})

    assert await house.used(slots) == 0
    house.check_books()


SCRIPTS: Sequence[Script] = (GOOD, DOWN, UNREACHABLE, TIMEOUT, BROKEN, reply(used(900, 90)))
LIMITS = st.builds(
    Limits,
    rpm=st.none() | st.integers(1, 4),
    tpm=st.none() | st.integers(ESTIMATE - 1, 4 * ESTIMATE),
    concurrent=st.none() | st.integers(1, 3),
)


@settings(max_examples=60, deadline=None)
@given(
    limits=st.tuples(LIMITS, LIMITS, LIMITS),
    scripts=st.tuples(*[st.lists(st.sampled_from(SCRIPTS), min_size=1, max_size=3)] * 3),
    requests=st.integers(1, 8),
)
async def test_of_many_at_once_nobody_is_ever_called_beyond_what_it_grants(
    limits: tuple[Limits, ...], scripts: tuple[list[Script], ...], requests: int
) -> None:
    house = LimitedHouse(*[Line(name, *script) for name, script in zip("abc", scripts, strict=True)])
    most: dict[str, int] = dict.fromkeys(house.lines, 0)
    for name, granted in zip("abc", limits, strict=True):
        house.limit(name, granted)

    async def one(number: int) -> None:
        try:
            running = await house.admit(request_id=RequestId(f"req_{number}"), credit_nanos=10**9)
            await house.handler.complete(running)
        except AggregatorError:
            return

    async def watch() -> None:
        while True:
            for name, line in house.lines.items():
                most[name] = max(most[name], line.working)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*map(one, range(requests)))
    watching.cancel()
    await house.settles()

    for name, granted in zip("abc", limits, strict=True):
        assert granted.rpm is None or len(house.lines[name].calls) <= granted.rpm
        assert granted.concurrent is None or most[name] <= granted.concurrent
        assert granted.concurrent is None or await house.used(house.of(name, "concurrent")) == 0
    assert (len(house.holds), house.breakers.out, house.reserved) == (0, {}, 0)
