"""From a name to candidates in order, over deployments that are there, can be reached and can take the request."""

from typing import Any

import msgspec
import pytest

from domain.deployment import Deployment, Limits
from domain.errors import InvalidInput, ModelNotFound, Unavailable
from tests.failing_over import Line, RouteHouse


def names(house: RouteHouse, asked: str = "fast", **ask: Any) -> list[str]:
    plan = house.plan(asked, **ask)
    return [candidate.deployment for candidate in plan.candidates]


def test_a_plain_model_is_the_only_candidate_of_its_plan() -> None:
    house = RouteHouse(Line("a"), Line("b"))

    plan = house.plan("m-b")

    (candidate,) = plan.candidates
    assert (plan.is_plain, candidate.provider, candidate.upstream_model) == (True, "b", "up-m-b")
    assert plan.trail[0].attempts_max == 1


def test_a_name_that_is_neither_route_nor_model_is_not_found() -> None:
    house = RouteHouse(Line("a"))

    with pytest.raises(ModelNotFound):
        house.plan("nothing")


def test_a_candidate_is_what_its_deployment_says_at_its_models_price() -> None:
    house = RouteHouse(Line("a"), Line("b"))
    house.catalogue.deployed["b"] = Deployment(name="b", model="m-a", provider="b", upstream_model="a-at-b")

    other = house.plan().candidates[-1]

    assert (other.model.model, other.price and other.price.price_id) == ("m-a", "p-m-a")
    assert (other.provider, other.upstream_model) == ("b", "a-at-b")


def test_deployments_that_are_gone_or_out_of_reach_or_without_a_model_are_no_candidates() -> None:
    house = RouteHouse(Line("a"), Line("b"), Line("c"), Line("d"))
    del house.catalogue.deployed["a"]
    del house.lines["b"]
    del house.catalogue.listed["m-c"]

    assert names(house) == ["d"]


def test_what_is_spared_or_full_or_lacks_something_comes_last_or_not_at_all() -> None:
    house = RouteHouse(Line("a"), Line("b"), Line("c"))
    house.breakers.phases["a"] = "open"
    house.catalogue.deployed["b"] = Deployment(
        name="b", model="m-b", provider="b", upstream_model="u", limits=Limits(concurrent=1)
    )
    house.views.began("b")

    plan = house.plan()

    assert plan.choice is not None
    assert [(each.name, each.skipped) for each in plan.choice.considered] == [
        *(("c", ""), ("a", "breaker open"), ("b", "full"))
    ]
    house.views.ended("b")
    assert names(house) == ["b", "c"]


def test_the_fastest_and_the_cheapest_are_told_from_what_was_seen_and_from_prices() -> None:
    house = RouteHouse(Line("a"), Line("b"), times={"a": 3}, strategy="cheapest")
    assert names(house) == ["b", "a"]

    house.add_route("fast", "a", "b", strategy="least_latency")
    house.views.observe("a", duration_ms=10.0)
    house.views.observe("b", duration_ms=90.0)
    assert names(house) == ["a", "b"]


def test_the_least_busy_is_told_from_calls_under_way_here() -> None:
    house = RouteHouse(Line("a"), Line("b"), strategy="least_busy")
    house.views.began("a")

    assert names(house) == ["b", "a"]


def test_a_capability_rules_out_who_lacks_it_where_it_is_needed() -> None:
    house = RouteHouse(Line("a"), Line("b"), Line("c"))
    for name, capabilities in (("m-a", ("streaming",)), ("m-b", ("tools",))):
        model, price = house.catalogue.listed[name]
        house.catalogue.listed[name] = (msgspec.structs.replace(model, capabilities=capabilities), price)

    assert names(house) == ["a", "b", "c"]
    assert names(house, needs=frozenset({"tools"})) == ["b", "c"]


def test_turns_are_taken_and_forgotten_with_their_routes() -> None:
    house = RouteHouse(Line("a"), Line("b"), strategy="round_robin")
    assert [names(house)[0] for _ in range(4)] == ["a", "b", "a", "b"]

    del house.catalogue.routed["fast"]
    house.add_route("other", "a", "b", strategy="round_robin")
    names(house, "other")
    assert list(house.book._turns) == ["other"]


def test_a_sticky_route_holds_on_to_whom_it_is_told() -> None:
    house = RouteHouse(Line("a"), Line("b"), Line("c"), strategy="sticky", sticky_by="user")

    firsts = {user: {names(house, user=user)[0] for _ in range(5)} for user in map(str, range(30))}

    assert all(len(each) == 1 for each in firsts.values())
    assert len(set.union(*firsts.values())) == 3


def test_a_route_that_can_take_nothing_now_falls_back_at_once() -> None:
    house = RouteHouse(Line("a"), Line("b"), deployments=("a",), fallback_models=("gone", "m-b"))
    house.breakers.phases["a"] = "open"

    plan = house.plan()

    assert ([route.name for route in plan.trail], plan.candidates[0].model.model) == (["fast", "m-b"], "m-b")
    assert plan.choice is not None and not plan.is_plain


def test_what_is_too_long_for_all_goes_to_the_context_fallbacks_or_is_the_clients_to_shorten() -> None:
    house = RouteHouse(Line("a"), Line("b"), deployments=("a",), context_fallbacks=("long",))
    house.add_route("long", "b")
    house.catalogue.add_model("m-b", "b", context=100_000)

    assert names(house, context_tokens=50_000) == ["b"]
    with pytest.raises(InvalidInput) as refusal:
        names(house, context_tokens=500_000)
    assert refusal.value.code == "context_length_exceeded"


def test_when_everybody_is_spared_it_is_said_so() -> None:
    house = RouteHouse(Line("a"))
    house.breakers.phases["a"] = "open"

    with pytest.raises(Unavailable):
        names(house)


def test_deployments_that_nobody_named_are_not_watched() -> None:
    house = RouteHouse(Line("a"), Line("b"))
    house.views.began("z")
    house.views.observe("z", duration_ms=5.0)
    house.views.began("a")
    house.views.keep(frozenset({"b"}))
    house.views.ended("a")

    assert (house.views.in_flight("z"), house.views.latency_ms("z", stream=False)) == (0, None)
    assert (house.views.in_flight("a"), house.views.in_flight("b")) == (0, 0)
