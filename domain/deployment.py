"""Deployments and routes: which keys at which providers may answer for a name, and by what rule one is chosen.

A deployment is one model at one provider under one key; a second key is a second deployment. A route is what a client
asks for by name. Both are configuration: `check_routing` says what is wrong with it, naming place and remedy.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Literal, get_args
from urllib.parse import urlsplit

import msgspec

from domain.errors import InvalidInput

Strategy = Literal["weighted", "priority", "round_robin", "least_latency", "least_busy", "cheapest", "sticky"]
StickyBy = Literal["key", "user"]

MOST_ATTEMPTS = 10
LARGEST_WEIGHT = 1_000_000
LONGEST_TIMEOUT_S = 3600.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")
_KEY_REF = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,63}")
_SECRET_LOOKS = ("sk-", "sk_", "gsk_", "xai-", "AIza")


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the provider grants this key: requests and tokens a minute, calls at the same time. None: no limit known."""

    rpm: int | None = None
    tpm: int | None = None
    concurrent: int | None = None


class Deployment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`model` is the catalogue's name, `upstream_model` the provider's. `key_ref` names where the key is kept, and is
    never the key. `weight` 0 drains it; of `priority` the lowest number comes first."""

    name: str
    model: str
    provider: str
    upstream_model: str
    base_url: str | None = None
    key_ref: str | None = None
    region: str | None = None
    weight: int = 1
    priority: int = 0
    limits: Limits = Limits()

    @property
    def connection(self) -> str:
        """How it is reached: as its provider always is, or in a way of its own."""
        return self.provider if self.base_url is None and self.key_ref is None else f"{self.provider}/{self.name}"


class Route(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`deployments` are names. Fallbacks are names of routes or models, in the order to be tried: for failures, for
    input that is too long, for content that was refused.

    `attempts_max` counts the calls for this route alone; `total_timeout_s` bounds the whole request, fallbacks and
    waiting included. `hedge_after_s`: once a request, a call that has given nothing for so long gets another one beside
    it; the first to give something answers, the other is given up, and what it costs is not the client's.
    `retry_unknown`: whether a call that may have been billed (it was sent, and no end was seen) may be answered by
    another deployment; the client pays for the one answer only. The asked route's word holds for its fallbacks too.
    """

    name: str
    deployments: tuple[str, ...]
    strategy: Strategy = "weighted"
    fallback_models: tuple[str, ...] = ()
    context_fallbacks: tuple[str, ...] = ()
    content_fallbacks: tuple[str, ...] = ()
    attempts_max: int = 3
    attempt_timeout_s: float = 300.0
    total_timeout_s: float = 600.0
    hedge_after_s: float | None = None
    sticky_by: StickyBy | None = None
    retry_unknown: bool = True


def check_routing(deployments: Sequence[Deployment], routes: Sequence[Route], models: Collection[str]) -> None:
    """`models` are the names in the catalogue. Raises InvalidInput."""
    _check_unique("deployments", [deployment.name for deployment in deployments])
    _check_unique("routes", [route.name for route in routes])
    for deployment in deployments:
        check_deployment(deployment, models)
    by_name = {deployment.name: deployment for deployment in deployments}
    targets = {*models, *(route.name for route in routes)}
    for route in routes:
        check_route(route, by_name, targets)
    _check_no_cycle(routes)


def check_deployment(deployment: Deployment, models: Collection[str]) -> None:
    place = f"deployments[{deployment.name}]"
    _check_name(place, deployment.name)
    if deployment.model not in models:
        raise _invalid(f"{place}.model", f"{deployment.model!r} is not in the catalogue; list the model first.")
    for field in ("provider", "upstream_model"):
        if not getattr(deployment, field):
            raise _invalid(f"{place}.{field}", "it is empty; name one.")
    _check_int(f"{place}.weight", deployment.weight, 0, LARGEST_WEIGHT)
    for field in ("rpm", "tpm", "concurrent"):
        limit: int | None = getattr(deployment.limits, field)
        if limit is not None and limit < 1:
            raise _invalid(f"{place}.limits.{field}", f"{limit} lets nothing through; use weight = 0 to drain it.")
    _check_base_url(f"{place}.base_url", deployment.base_url)
    _check_key_ref(f"{place}.key_ref", deployment.key_ref)


def check_route(route: Route, deployments: Mapping[str, Deployment], targets: Collection[str]) -> None:
    """`targets` are the names that may be fallen back to."""
    place = f"routes[{route.name}]"
    _check_name(place, route.name)
    _check_deployments(f"{place}.deployments", route.deployments, deployments)
    for field in ("fallback_models", "context_fallbacks", "content_fallbacks"):
        names: tuple[str, ...] = getattr(route, field)
        _check_unique(f"{place}.{field}", names)
        for index, name in enumerate(names):
            if name not in targets:
                raise _invalid(f"{place}.{field}[{index}]", f"{name!r} is neither a route nor a model; add it first.")
    if route.strategy not in get_args(Strategy):
        raise _invalid(f"{place}.strategy", f"use one of {', '.join(get_args(Strategy))}.")
    if (route.strategy == "sticky") != (route.sticky_by is not None):
        raise _invalid(f"{place}.sticky_by", "strategy 'sticky', and only it, needs sticky_by = 'key' or 'user'.")
    _check_int(f"{place}.attempts_max", route.attempts_max, 1, MOST_ATTEMPTS)
    _check_times(place, route)


def _check_deployments(place: str, names: Sequence[str], deployments: Mapping[str, Deployment]) -> None:
    if not names:
        raise _invalid(place, "it is empty; name at least one deployment.")
    _check_unique(place, names)
    for index, name in enumerate(names):
        if name not in deployments:
            raise _invalid(f"{place}[{index}]", f"there is no deployment {name!r}; add it, or correct the name.")
    if not any(deployments[name].weight for name in names):
        raise _invalid(place, "every weight is 0, so nothing could be chosen; give one of them a weight above 0.")


def _check_times(place: str, route: Route) -> None:
    _check_time(f"{place}.total_timeout_s", route.total_timeout_s, LONGEST_TIMEOUT_S)
    _check_time(f"{place}.attempt_timeout_s", route.attempt_timeout_s, route.total_timeout_s)
    if route.hedge_after_s is not None:
        _check_time(f"{place}.hedge_after_s", route.hedge_after_s, route.attempt_timeout_s)


def _check_no_cycle(routes: Iterable[Route]) -> None:
    graph = {
        route.name: {*route.fallback_models, *route.context_fallbacks, *route.content_fallbacks} for route in routes
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        path: list[str] = error.args[1]
        way = " → ".join(reversed(path))
        raise _invalid(f"routes[{path[-1]}]", f"its fallbacks lead back to it ({way}); take one out.") from None


def _check_unique(place: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _invalid(place, f"{name!r} is there twice; take one out.")
        seen.add(name)


def _check_name(place: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise _invalid(place, "a name has 1 to 128 letters, digits and . _ : / @ -, and begins with a letter or digit.")


def _check_int(place: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise _invalid(place, f"{value} is out of bounds; use {least} to {most}.")


def _check_time(place: str, seconds: float, most_s: float) -> None:
    if not (math.isfinite(seconds) and 0 < seconds <= most_s):
        raise _invalid(place, f"{seconds} s is out of bounds; use more than 0 and at most {most_s:g} s.")


def _check_base_url(place: str, url: str | None) -> None:
    """The address itself is not repeated: it may hold a password."""
    if url is None:
        return
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        raise _invalid(place, "this is no address; it looks like https://api.example.com/v1.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _invalid(place, "this is no address; it looks like https://api.example.com/v1.")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise _invalid(place, "it may hold neither a password nor a query; keep the key under key_ref.")


def _check_key_ref(place: str, key_ref: str | None) -> None:
    """What was given is not repeated: it may be the key."""
    if key_ref is not None and (not _KEY_REF.fullmatch(key_ref) or key_ref.startswith(_SECRET_LOOKS)):
        raise _invalid(place, "it names where the key is kept (such as OPENAI_API_KEY_2), and is never the key itself.")


def _invalid(place: str, message: str) -> InvalidInput:
    return InvalidInput(f"{place}: {message}", field=place)
