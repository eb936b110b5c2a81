"""What is wrong with a configuration of routes is told by its place and its remedy."""

from itertools import pairwise
from typing import Any

import pytest

from domain.deployment import Deployment, Limits, Route, check_routing
from domain.errors import InvalidInput

MODELS = {"gpt", "claude"}


def deployment(name: str = "a", **fields: Any) -> Deployment:
    sound: dict[str, Any] = {"name": name, "model": "gpt", "provider": "openai", "upstream_model": "gpt-4o"}
    return Deployment(**sound | fields)


def route(name: str = "fast", *deployments: str, **fields: Any) -> Route:
    return Route(name=name, deployments=deployments or ("a",), **fields)


def complaint(deployments: list[Deployment], routes: list[Route]) -> InvalidInput:
    with pytest.raises(InvalidInput) as refusal:
        check_routing(deployments, routes, MODELS)
    assert refusal.value.field
    assert str(refusal.value).startswith(refusal.value.field)
    return refusal.value


def test_a_sound_configuration_passes() -> None:
    check_routing(
        [
            deployment("a", base_url="https://api.openai.com/v1", key_ref="OPENAI_API_KEY", region="eu"),
            deployment("b", weight=0, limits=Limits(rpm=10, tpm=1000, concurrent=2)),
            deployment("c", model="claude", base_url="http://[::1]:8080"),
        ],
        [
            route("fast", "a", "b", fallback_models=("smart", "claude"), context_fallbacks=("claude",)),
            route("smart", "c", strategy="sticky", sticky_by="key", hedge_after_s=2, content_fallbacks=("claude",)),
        ],
        MODELS,
    )


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"model": "gtp"}, "model"),
        ({"provider": ""}, "provider"),
        ({"upstream_model": ""}, "upstream_model"),
        ({"weight": -1}, "weight"),
        ({"weight": 10**9}, "weight"),
        ({"limits": Limits(rpm=0)}, "limits.rpm"),
        ({"limits": Limits(tpm=-5)}, "limits.tpm"),
        ({"limits": Limits(concurrent=0)}, "limits.concurrent"),
        ({"base_url": "api.openai.com"}, "base_url"),
        ({"base_url": "ftp://api.openai.com"}, "base_url"),
        ({"base_url": "https://"}, "base_url"),
        ({"base_url": "https://h:99999"}, "base_url"),
        ({"base_url": "https://[broken"}, "base_url"),
        ({"base_url": "https://user:hunter2@h/v1"}, "base_url"),
        ({"base_url": "https://h/v1?key=hunter2"}, "base_url"),
        ({"key_ref": "sk-proj-hunter2"}, "key_ref"),
        ({"key_ref": "AIzahunter2"}, "key_ref"),
        ({"key_ref": "hunter2 hunter2"}, "key_ref"),
        ({"key_ref": "x" * 65}, "key_ref"),
    ],
)
def test_a_deployment_that_cannot_work_is_refused_without_repeating_secrets(fields: dict[str, Any], place: str) -> None:
    refusal = complaint([deployment(**fields)], [route()])

    assert refusal.field == f"deployments[a].{place}"
    assert "hunter2" not in str(refusal)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"deployments": ()}, "deployments"),
        ({"deployments": ("a", "a")}, "deployments"),
        ({"deployments": ("a", "x")}, "deployments[1]"),
        ({"deployments": ("drained",)}, "deployments"),
        ({"strategy": "random"}, "strategy"),
        ({"strategy": "sticky"}, "sticky_by"),
        ({"sticky_by": "user"}, "sticky_by"),
        ({"fallback_models": ("nobody",)}, "fallback_models[0]"),
        ({"context_fallbacks": ("gpt", "nobody")}, "context_fallbacks[1]"),
        ({"content_fallbacks": ("gpt", "gpt")}, "content_fallbacks"),
        ({"attempts_max": 0}, "attempts_max"),
        ({"attempts_max": 11}, "attempts_max"),
        ({"total_timeout_s": 0.0}, "total_timeout_s"),
        ({"total_timeout_s": float("nan")}, "total_timeout_s"),
        ({"total_timeout_s": float("inf")}, "total_timeout_s"),
        ({"attempt_timeout_s": 601.0}, "attempt_timeout_s"),
        ({"hedge_after_s": -1.0}, "hedge_after_s"),
        ({"hedge_after_s": 301.0}, "hedge_after_s"),
    ],
)
def test_a_route_that_cannot_work_is_refused(fields: dict[str, Any], place: str) -> None:
    sound: dict[str, Any] = {"name": "fast", "deployments": ("a",)}
    broken = Route(**sound | fields)

    refusal = complaint([deployment("a"), deployment("drained", weight=0)], [broken])

    assert refusal.field == f"routes[fast].{place}"


@pytest.mark.parametrize("name", ["", " ", "-a", "a b", "a\n", "x" * 129])
def test_a_name_that_cannot_be_written_anywhere_is_refused(name: str) -> None:
    complaint([deployment(name)], [])
    complaint([deployment("a")], [route(name)])


def test_names_are_given_once() -> None:
    assert complaint([deployment("a"), deployment("a")], []).field == "deployments"
    assert complaint([deployment("a")], [route("r"), route("r")]).field == "routes"


def test_fallbacks_that_lead_back_are_shown_as_the_way_they_go() -> None:
    refusal = complaint(
        [deployment("a")],
        [
            route("one", "a", fallback_models=("two",)),
            route("two", "a", context_fallbacks=("three",)),
            route("three", "a", content_fallbacks=("one",)),
        ],
    )

    way = str(refusal).partition("(")[2].partition(")")[0].split(" → ")
    assert way[0] == way[-1]
    onward = {"one": "two", "two": "three", "three": "one"}
    assert all(onward[here] == there for here, there in pairwise(way))


def test_a_route_is_not_its_own_fallback() -> None:
    assert complaint([deployment("a")], [route("one", "a", fallback_models=("one",))]).field == "routes[one]"
