"""The declared part of the catalogue: deployments, routes with their cache policies, and limits, in whole.

It is right or wrong as a whole: a route names deployments, a fallback names another route. What is wrong is said with
its place in what was declared (`routes[2] (fast).deployments[0]`) and the remedy.
"""

import hashlib
import ipaddress
import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

import msgspec

from domain.catalog import Kind
from domain.declared_limits import EACH, LIMITED, LimitsSet, amounts
from domain.declared_route import CatalogRoute
from domain.deployment import Deployment, check_routing
from domain.errors import InvalidInput
from domain.limits import MAX_AMOUNT

MOST_DECLARED = 2_000
"""Deployments, routes and limits in all: their names fit in one message of the log."""
LONGEST_NAME = 256
LARGEST_PRIORITY = 1_000_000
_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")


class Declaration(msgspec.Struct, frozen=True):
    """In the order in which they were written down."""

    deployments: tuple[Deployment, ...] = ()
    routes: tuple[CatalogRoute, ...] = ()
    limits: tuple[LimitsSet, ...] = ()

    def beside(self, kept: "Declaration") -> "Declaration":
        """With those of `kept` that it does not name itself."""
        own = {section: frozenset(names) for section, names in self.names.items()}
        return Declaration(
            (*self.deployments, *(each for each in kept.deployments if each.name not in own["deployments"])),
            (*self.routes, *(each for each in kept.routes if each.route.name not in own["routes"])),
            (*self.limits, *(each for each in kept.limits if each.name not in own["limits"])),
        )

    @property
    def names(self) -> Mapping[str, tuple[str, ...]]:
        """By section, in their order."""
        return {
            "deployments": tuple(deployment.name for deployment in self.deployments),
            "routes": tuple(each.route.name for each in self.routes),
            "limits": tuple(limits.name for limits in self.limits),
        }

    @property
    def digest(self) -> str:
        """The same for the same words, whenever they were told; empty for nothing."""
        if self == Declaration():
            return ""
        limits = [(limits.name, amounts(limits)) for limits in self.limits]
        told = msgspec.json.encode((self.deployments, self.routes, limits))
        return hashlib.blake2b(told, digest_size=16).hexdigest()


def check_declaration(
    declared: Declaration, kept: Declaration, models: Mapping[str, Kind], providers: Collection[str]
) -> None:
    """`kept` is what stays of others beside it; `models` and `providers` are those that are known. Raises
    InvalidInput."""
    try:
        _check_unique(declared)
        whole = declared.beside(kept)
        if sum(map(len, whole.names.values())) > MOST_DECLARED:
            raise InvalidInput(f"The catalogue holds at most {MOST_DECLARED} deployments, routes and limits in all.")
        check_routing(whole.deployments, [each.route for each in whole.routes], models)
        for deployment in declared.deployments:
            _check_deployment(deployment, providers)
        for each in whole.routes:
            _check_cache(each, whole, models)
        targets = {*models, *whole.names["routes"]}
        for limits in whole.limits:
            _check_limits(limits, targets)
    except InvalidInput as refused:
        raise _placed(refused, declared) from None


def models_named(declared: Declaration) -> set[str]:
    """All that may be names of models: what has to be known before it can be checked."""
    named = {deployment.model for deployment in declared.deployments}
    for each in declared.routes:
        route = each.route
        named |= {*route.fallback_models, *route.context_fallbacks, *route.content_fallbacks}
        if each.cache is not None and each.cache.semantic is not None:
            named.add(each.cache.semantic.embedding_model)
    return named | {limits.subject for limits in declared.limits if limits.scope == "model" and limits.subject != EACH}


def _check_unique(declared: Declaration) -> None:
    for section, names in declared.names.items():
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise _invalid(f"{section}[{name}]", f"{name!r} is there twice; take one out.")
            seen.add(name)


def _check_deployment(deployment: Deployment, providers: Collection[str]) -> None:
    place = f"deployments[{deployment.name}]"
    if deployment.provider not in providers:
        known = ", ".join(sorted(providers))
        remedy = f"{deployment.provider!r} is not known (there are: {known}); declare it under [[providers]]."
        raise _invalid(f"{place}.provider", remedy)
    for field in ("upstream_model", "region"):
        told: str | None = getattr(deployment, field)
        if told is not None and not (told.isprintable() and len(told) <= LONGEST_NAME):
            raise _invalid(f"{place}.{field}", f"a name has at most {LONGEST_NAME} printable characters.")
    _check_transport(f"{place}.base_url", deployment.base_url)
    if abs(deployment.priority) > LARGEST_PRIORITY:
        remedy = f"{deployment.priority} is out of bounds; use {-LARGEST_PRIORITY} to {LARGEST_PRIORITY}."
        raise _invalid(f"{place}.priority", remedy)


def _check_transport(place: str, base_url: str | None) -> None:
    url = urlsplit(base_url or "")
    if url.scheme == "http" and not is_this_machine(url.hostname or ""):
        raise _invalid(place, "keys and prompts are sent over https; http is for this machine (127.0.0.1) only.")


def is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _check_cache(each: CatalogRoute, whole: Declaration, models: Mapping[str, Kind]) -> None:
    if each.cache is None or each.cache.semantic is None:
        return
    name = each.cache.semantic.embedding_model
    place = f"routes[{each.route.name}].cache.semantic.embedding_model"
    kinds = _kinds_behind(name, whole, models)
    if not kinds:
        raise _invalid(place, f"{name!r} is neither a model nor a route; name one that makes embeddings.")
    if kinds != {"embedding"}:
        raise _invalid(place, f"{name!r} makes no embeddings; name a model of kind 'embedding', or a route to one.")


def _kinds_behind(name: str, whole: Declaration, models: Mapping[str, Kind]) -> set[Kind]:
    """Of the models that a route, or else the one model of this name, leads to."""
    route = next((each.route for each in whole.routes if each.route.name == name), None)
    if route is None:
        return {models[name]} if name in models else set()
    model_of = {deployment.name: deployment.model for deployment in whole.deployments}
    return {models[model_of[deployment]] for deployment in route.deployments}


def _check_limits(limits: LimitsSet, models_and_routes: Collection[str]) -> None:
    place = f"limits[{limits.name}]"
    if limits.subject != EACH and not _SUBJECT.fullmatch(limits.subject):
        raise _invalid(f"{place}.subject", f"it is an id or a name, or {EACH!r} for each one.")
    if limits.scope == "model" and limits.subject != EACH and limits.subject not in models_and_routes:
        raise _invalid(f"{place}.subject", f"{limits.subject!r} is neither a model nor a route; correct the name.")
    told = dict(zip(LIMITED, amounts(limits), strict=True))
    if all(amount is None for amount in told.values()):
        raise _invalid(place, "it limits nothing; name an amount, or take it out.")
    for name, amount in told.items():
        if amount is not None and not 0 <= amount <= MAX_AMOUNT:
            raise _invalid(f"{place}.{name}", f"{amount} is out of bounds; use 0 (nothing at all) to {MAX_AMOUNT}.")


def _placed(refused: InvalidInput, declared: Declaration) -> InvalidInput:
    """The same refusal, with the place's number in what was declared beside its name."""
    place = refused.field or ""
    found = [
        (section, index, name)
        for section, names in declared.names.items()
        for index, name in enumerate(names)
        if place.startswith(f"{section}[{name}]")
    ]
    if not found:
        return refused
    section, index, name = max(found, key=lambda each: (len(each[2]), each[1]))
    rest = place.removeprefix(f"{section}[{name}]")
    message = str(refused).removeprefix(place)
    return InvalidInput(f"{section}[{index}] ({name}){rest}{message}", field=f"{section}[{index}]{rest}")


def _invalid(place: str, message: str) -> InvalidInput:
    return InvalidInput(f"{place}: {message}", field=place)
