"""Who comes first, by each strategy; and why."""

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.breaker import Phase
from domain.deployment import Route, Strategy
from domain.routing import CandidateView, Choice, RoutingInput, order
from tests.routing import route

ANY = RoutingInput()
CANDIDATES = st.lists(
    st.builds(
        CandidateView,
        name=st.text("abcdefgh", min_size=1, max_size=3),
        weight=st.integers(0, 5),
        priority=st.integers(-2, 2),
        phase=st.sampled_from(get_args(Phase)),
        in_flight=st.integers(0, 4),
        full=st.booleans(),
        latency_ms=st.none() | st.floats(0, 1e6),
        cost_nanos=st.none() | st.integers(0, 10**9),
        context_length=st.sampled_from([0, 1_000, 100_000]),
        capabilities=st.none() | st.frozensets(st.sampled_from(["tools", "vision"])),
    ),
    max_size=8,
    unique_by=lambda candidate: candidate.name,
)
INPUTS = st.builds(
    RoutingInput,
    needs=st.frozensets(st.sampled_from(["tools", "vision"])),
    context_tokens=st.sampled_from([0, 500, 5_000]),
    sticky_key=st.text(max_size=4),
    turn=st.integers(0, 2**40),
)
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


def by(strategy: Strategy) -> Route:
    return route(strategy=strategy)


def seeded(seed: int = 1) -> Callable[[], float]:
    return random.Random(seed).random


def firsts(strategy: Strategy, candidates: list[CandidateView], times: int = 4000) -> Counter[str | None]:
    chance = seeded()
    return Counter(order(by(strategy), candidates, RoutingInput(turn=turn), chance).chosen for turn in range(times))


@given(st.sampled_from(STRATEGIES), CANDIDATES, INPUTS, st.integers())
def test_every_candidate_is_either_in_the_order_or_skipped_for_a_reason(
    strategy: Strategy, candidates: list[CandidateView], request: RoutingInput, seed: int
) -> None:
    choice = order(by(strategy), candidates, request, seeded(seed))

    assert sorted(entry.name for entry in choice.considered) == sorted(candidate.name for candidate in candidates)
    assert choice.chosen == (choice.order[0] if choice.order else None)
    views = {candidate.name: candidate for candidate in candidates}
    for name in choice.order:
        view = views[name]
        assert view.weight and view.phase in ("closed", "half_open")
        assert not 0 < view.context_length < request.context_tokens
        assert view.capabilities is None or request.needs <= view.capabilities
        assert not view.full
    assert msgspec.json.decode(msgspec.json.encode(choice), type=Choice) == choice


@given(st.sampled_from(STRATEGIES), CANDIDATES, st.sampled_from([0.0, math.nextafter(1.0, 0.0)]))
def test_the_edges_of_chance_are_no_trouble(strategy: Strategy, candidates: list[CandidateView], edge: float) -> None:
    order(by(strategy), candidates, ANY, lambda: edge)


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (CandidateView(name="a", weight=0), "drained"),
        (CandidateView(name="a", phase="open"), "breaker open"),
        (CandidateView(name="a", phase="throttled"), "throttled"),
        (CandidateView(name="a", phase="probing"), "probe running"),
        (CandidateView(name="a", full=True), "full"),
        (CandidateView(name="a", context_length=999), "input too long"),
        (CandidateView(name="a", capabilities=frozenset({"streaming"})), "lacks tools, vision"),
    ],
)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_cannot_serve_is_skipped_and_said_why(strategy: Strategy, view: CandidateView, reason: str) -> None:
    request = RoutingInput(needs=frozenset({"vision", "tools"}), context_tokens=1000)

    choice = order(by(strategy), [view, CandidateView(name="b")], request, seeded())

    assert choice.order == ("b",)
    assert [entry.skipped for entry in choice.considered] == ["", reason]


def test_an_input_that_nobody_takes_is_told_apart_from_nobody_being_there() -> None:
    short, broken = CandidateView(name="a", context_length=10), CandidateView(name="b", phase="open")
    request = RoutingInput(context_tokens=11)

    assert order(by("weighted"), [short, broken], request, seeded()).too_long
    assert not order(by("weighted"), [broken], request, seeded()).too_long
    assert not order(by("weighted"), [short, CandidateView(name="c")], request, seeded()).too_long


def test_weighted_shares_by_weight_also_for_the_second_place() -> None:
    views = [CandidateView(name=name, weight=weight) for name, weight in {"a": 1, "b": 3, "c": 6}.items()]
    chance = seeded()
    choices = [order(by("weighted"), views, ANY, chance).order for _ in range(6000)]

    first = Counter(choice[0] for choice in choices)
    after_c = Counter(choice[1] for choice in choices if choice[0] == "c")
    assert first["c"] / 6000 == pytest.approx(0.6, abs=0.03)
    assert first["b"] / 6000 == pytest.approx(0.3, abs=0.03)
    assert after_c["b"] / first["c"] == pytest.approx(0.75, abs=0.03)


def test_priority_goes_by_rank_and_shares_within_one() -> None:
    views = [
        CandidateView(name="spare", priority=2, weight=100),
        CandidateView(name="a", priority=1),
        CandidateView(name="b", priority=1, weight=3),
    ]
    counted = firsts("priority", views)

    assert set(counted) == {"a", "b"}
    assert counted["b"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert order(by("priority"), views, ANY, seeded()).order[-1] == "spare"


def test_round_robin_takes_turns_among_those_that_can() -> None:
    views = [CandidateView(name=name) for name in "abcd"]
    dead = [msgspec.structs.replace(view, phase="open") if view.name == "b" else view for view in views]

    assert firsts("round_robin", views) == dict.fromkeys("abcd", 1000)
    assert firsts("round_robin", dead, 3000) == dict.fromkeys("acd", 1000)


def test_least_busy_prefers_few_calls_for_its_weight() -> None:
    views = [
        CandidateView(name="a", in_flight=3),
        CandidateView(name="b", in_flight=4, weight=4),
        CandidateView(name="c", in_flight=2),
    ]

    assert order(by("least_busy"), views, ANY, seeded()).order == ("b", "c", "a")


def test_cheapest_goes_by_this_requests_price_and_unpriced_comes_last() -> None:
    views = [
        CandidateView(name="a", cost_nanos=None),
        CandidateView(name="b", cost_nanos=20),
        CandidateView(name="c", cost_nanos=3),
    ]

    assert order(by("cheapest"), views, ANY, seeded()).order == ("c", "b", "a")


def test_of_two_picked_at_random_the_faster_comes_first() -> None:
    views = [CandidateView(name=str(rank), latency_ms=100.0 * rank) for rank in range(1, 6)]
    counted = firsts("least_latency", views, 10_000)

    assert [counted[str(rank)] / 10_000 for rank in range(1, 6)] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0], abs=0.02)
    assert counted["5"] == 0


def test_calls_in_flight_make_a_deployment_look_slower() -> None:
    views = [CandidateView(name="a", latency_ms=100.0, in_flight=20), CandidateView(name="b", latency_ms=200.0)]

    assert order(by("least_latency"), views, ANY, seeded()).order == ("b", "a")


def test_a_deployment_of_which_nothing_is_known_is_neither_shunned_nor_stormed() -> None:
    views = [CandidateView(name="known", latency_ms=300.0), CandidateView(name="new")]
    loaded = [views[0], msgspec.structs.replace(views[1], in_flight=1)]

    assert firsts("least_latency", views)["new"] / 4000 == pytest.approx(0.5, abs=0.03)
    assert firsts("least_latency", loaded)["new"] == 0


@given(st.lists(st.text(), min_size=1, max_size=30, unique=True), st.integers(0, 5))
def test_a_lost_deployment_moves_only_its_own_keys(keys: list[str], lost: int) -> None:
    views = [CandidateView(name=f"d{number}", weight=number + 1) for number in range(6)]
    broken = [
        msgspec.structs.replace(view, phase="open") if number == lost else view for number, view in enumerate(views)
    ]
    for key in filter(None, keys):
        request = RoutingInput(sticky_key=key)
        before = order(by("sticky"), views, request, seeded()).order
        after = order(by("sticky"), broken, request, seeded(2)).order
        assert after == tuple(name for name in before if name != f"d{lost}")


def test_sticky_keys_spread_by_weight_and_stay_where_they_are() -> None:
    views = [CandidateView(name="a", weight=1), CandidateView(name="b", weight=3)]
    requests = [RoutingInput(sticky_key=f"user_{number}") for number in range(4000)]
    places = [order(by("sticky"), views, request, seeded()).chosen for request in requests]

    assert places == [order(by("sticky"), views[::-1], request, seeded(9)).chosen for request in requests]
    assert Counter(places)["b"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_without_a_key_sticky_shares_by_weight() -> None:
    views = [CandidateView(name="a", weight=1), CandidateView(name="b", weight=3)]

    assert firsts("sticky", views)["b"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_the_reason_holds_what_the_strategy_looked_at_and_not_the_clients_key() -> None:
    views = [CandidateView(name="a", latency_ms=123.456, in_flight=2), CandidateView(name="b", phase="open")]

    why = msgspec.json.decode(msgspec.json.encode(order(by("least_latency"), views, ANY, seeded())))
    sticky = msgspec.json.encode(order(by("sticky"), views, RoutingInput(sticky_key="u-secret"), seeded()))

    assert why == {
        "strategy": "least_latency",
        "chosen": "a",
        "considered": [
            {"name": "a", "in_flight": 2, "latency_ms": 123.5, "score": 148.1},
            {"name": "b", "skipped": "breaker open"},
        ],
    }
    assert b"u-secret" not in sticky
