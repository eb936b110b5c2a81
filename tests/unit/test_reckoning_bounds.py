"""The most that a request may take: reckoned once before anybody is chosen, and never less than what comes of it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dialects.dialect import ENTRY_TOKENS, ClientRequest
from commands.route_plan import Bounds, RoutePlan
from commands.running import AnswerRequest
from domain.catalog import Model
from domain.deployment import Deployment
from domain.errors import AggregatorError
from domain.pricing import Price, Rates, ceiling_nanos
from tests.answering import RATES, UNPRICED_NANOS, command
from tests.failing_over import INPUT_BOUND, OUTPUT, Line, RouteHouse
from tests.money import AT

CEILING = ceiling_nanos(INPUT_BOUND, OUTPUT, RATES)
A_MODEL = st.tuples(st.none() | st.integers(0, 10**12), st.integers(0, 2 * OUTPUT), st.integers(0, 2))
"""Its rate, its largest output, and the weight of its deployment."""


def bounds(house: RouteHouse, name: str = "fast", choices: int = 1) -> Bounds:
    asked = house.ask()
    return house.book.resolve(name, asked.endpoint, asked.at).bounds(asked.sizes, choices, UNPRICED_NANOS)


def asking(plan: RoutePlan, **changes: Any) -> AnswerRequest:
    first = plan.candidates[0]
    return command(route=plan, model=first.model, price=first.price, **changes)


def set_model(house: RouteHouse, name: str, rate: int | None, output: int) -> None:
    price = None if rate is None else Price(f"p-{rate}", AT, AT, Rates(input=rate, output=rate))
    house.catalogue.listed[f"m-{name}"] = (Model(f"m-{name}", name, "up", 8_000, output), price)


def test_the_dearest_and_the_largest_count_but_not_what_is_drained() -> None:
    house = RouteHouse(Line("a"), Line("b"), Line("c"), times={"b": 3, "c": 9})
    set_model(house, "a", 1, 10)
    for name, weight in (("a", 1), ("c", 0)):
        house.catalogue.deployed[name] = msgspec.structs.replace(house.catalogue.deployed[name], weight=weight)

    reckoned = bounds(house, choices=2)

    tripled = Rates(input=3 * RATES.input, output=3 * RATES.output)
    assert reckoned.dearest_nanos == reckoned.ceilings["b"] == ceiling_nanos(INPUT_BOUND, 2 * OUTPUT, tripled)
    assert (reckoned.output_tokens, set(reckoned.ceilings)) == (OUTPUT, {"a", "b"})


@given(st.lists(A_MODEL, min_size=3, max_size=3), st.integers(1, 4), st.sampled_from(["priority", "cheapest"]))
def test_nobody_who_is_chosen_costs_or_writes_more_than_was_bounded(
    models: list[tuple[int | None, int, int]], choices: int, strategy: str
) -> None:
    house = RouteHouse(Line("a"), Line("b"), Line("c"), strategy=strategy)
    for name, (rate, output, weight) in zip("abc", models, strict=True):
        set_model(house, name, rate, output)
        house.catalogue.deployed[name] = msgspec.structs.replace(house.catalogue.deployed[name], weight=weight)
    reckoned = bounds(house, choices=choices)
    try:
        plan = house.plan(choices=choices)
    except AggregatorError:
        assert not any(weight for _, _, weight in models)
        assert (reckoned.dearest_nanos, reckoned.output_tokens) == (0, 0)
        return

    asked = asking(plan, choices=choices)
    sizes = plan.ask.sizes
    assert plan.dearest_nanos == asked.dearest_nanos(UNPRICED_NANOS) == reckoned.dearest_nanos
    for each in plan.candidates:
        anew = each.ceiling_nanos(sizes, choices, UNPRICED_NANOS)
        assert asked.ceiling_nanos(each, UNPRICED_NANOS) == plan.ceilings[each.deployment] == anew
        assert sizes.max_output_tokens(each.model) <= reckoned.output_tokens


def test_a_plain_model_has_the_bounds_of_its_only_candidate() -> None:
    house = RouteHouse(Line("a"), times={"a": 2})
    plan = house.plan("m-a")

    doubled = ceiling_nanos(INPUT_BOUND, OUTPUT, Rates(input=2 * RATES.input, output=2 * RATES.output))
    assert bounds(house, "m-a").dearest_nanos == plan.dearest_nanos == doubled
    asked = asking(plan)
    assert asked.ceiling_nanos(asked.alone(), UNPRICED_NANOS) == doubled


@pytest.mark.parametrize("fallback", ["slow", "m-b"])
def test_what_is_fallen_back_to_at_once_may_cost_more_than_what_was_asked_for(fallback: str) -> None:
    house = RouteHouse(Line("a"), Line("b"), times={"b": 3}, deployments=("a",), fallback_models=(fallback,))
    house.add_route("slow", "b")
    house.breakers.phases["a"] = "open"

    plan = house.plan(choices=2)

    assert bounds(house).dearest_nanos == CEILING
    (candidate,) = plan.candidates
    tripled = Rates(input=3 * RATES.input, output=3 * RATES.output)
    assert plan.dearest_nanos == ceiling_nanos(INPUT_BOUND, 2 * OUTPUT, tripled)
    assert asking(plan, choices=2).ceiling_nanos(candidate, UNPRICED_NANOS) == plan.dearest_nanos


def test_what_was_reckoned_is_not_reckoned_again() -> None:
    house = RouteHouse(Line("a"), Line("b"))
    reckoned = bounds(house)
    ask = house.ask(sizes=None)

    asked = asking(house.book.plan(house.book.resolve("fast", ask.endpoint, ask.at), ask, reckoned))

    assert asked.dearest_nanos(UNPRICED_NANOS) == CEILING


def test_each_input_of_an_embedding_may_fill_the_model() -> None:
    model = Model("m", "p", "up", 100, 0, kind="embedding")
    asked = ClientRequest(endpoint="embeddings", model="m", members={}, body_bytes=10**6, text_bytes=1, entries=3)

    assert (asked.input_bound(model), asked.max_output_tokens(model)) == (300, 0)
    assert msgspec.structs.replace(asked, body_bytes=50).input_bound(model) == 50 + 3 * ENTRY_TOKENS


def test_a_plan_without_bounds_does_not_say_that_it_costs_nothing() -> None:
    house = RouteHouse(Line("a"))
    asked = house.ask()
    plan = house.book.plan(house.book.resolve("fast", asked.endpoint, asked.at), asked)

    with pytest.raises(KeyError):
        plan.dearest_nanos  # noqa: B018 - it is reckoned when read
    assert asking(plan).ceiling_nanos(plan.candidates[0], UNPRICED_NANOS) == CEILING


def test_a_deployment_that_is_declared_anew_meanwhile_is_not_taken_at_its_old_ceiling() -> None:
    house = RouteHouse(Line("a"), Line("b"), times={"b": 3})
    plan = house.plan()
    house.catalogue.deployed["a"] = Deployment(name="a", model="m-b", provider="a", upstream_model="u")
    later = house.book.ordered("fast", plan.ask)

    anew = next(each for each in later.candidates if each.deployment == "a")

    assert plan.ceilings["a"] == CEILING
    assert asking(plan).ceiling_nanos(anew, UNPRICED_NANOS) == plan.ceilings["b"] > CEILING
