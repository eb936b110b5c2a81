"""Who first, who next: the deployments of a route in the order to be tried, and why. No I/O, no clock."""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from domain.breaker import Phase
from domain.deployment import Route, Strategy

Random: TypeAlias = Callable[[], float]
"""Evenly from [0, 1)."""

LOAD_PER_CALL = 0.1
"""A call in flight makes a deployment look a tenth slower: what is fastest is not stormed before its average moves."""
TIES = 1e-300
"""Keeps a logarithm from zero."""

_SPARED: dict[Phase, str] = {"open": "breaker open", "throttled": "throttled", "probing": "probe running"}


class CandidateView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of a deployment now. `full`: it has all that its provider grants it. `latency_ms` and `cost_nanos`
    (of this request's estimate) are None when not known, and finite. `capabilities` None: nothing is known of them, so
    nothing is ruled out. `context_length` 0: not known."""

    name: str
    weight: int = 1
    priority: int = 0
    phase: Phase = "closed"
    in_flight: int = 0
    full: bool = False
    latency_ms: float | None = None
    cost_nanos: int | None = None
    context_length: int = 0
    capabilities: frozenset[str] | None = None


class RoutingInput(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`needs` are capabilities; `context_tokens` the fewest tokens that the request can take. `sticky_key` is what
    `sticky_by` names: requests with the same one go to the same place. `turn` counts the route's requests."""

    needs: frozenset[str] = frozenset()
    context_tokens: int = 0
    sticky_key: str = ""
    turn: int = 0


class Considered(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One deployment and what spoke for it, or why it was `skipped`. Only what the strategy looked at is there."""

    name: str
    skipped: str = ""
    weight: int | None = None
    priority: int | None = None
    in_flight: int | None = None
    latency_ms: float | None = None
    cost_nanos: int | None = None
    score: float | None = None


class Choice(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """For the event: why this one. `considered` begins with those to be tried, in turn, and ends with the skipped.
    `too_long`: nothing is left, and it was the input's length that ruled somebody out."""

    strategy: Strategy
    chosen: str | None
    considered: tuple[Considered, ...]
    too_long: bool = False

    @property
    def order(self) -> tuple[str, ...]:
        """The names to be tried, in turn."""
        return tuple([candidate.name for candidate in self.considered if not candidate.skipped])


_Ranked: TypeAlias = list[tuple[CandidateView, float | None]]
"""In the order to be tried, each with its score where the strategy has one."""


def order(route: Route, candidates: Sequence[CandidateView], request: RoutingInput, random: Random) -> Choice:
    """Total: any candidates have an order, perhaps an empty one."""
    fit: list[CandidateView] = []
    skipped: list[Considered] = []
    too_long = False
    for candidate in candidates:
        reason = _unfit(candidate, request)
        if not reason:
            fit.append(candidate)
        else:
            skipped.append(Considered(candidate.name, reason))
            too_long = too_long or reason is _TOO_LONG
    strategy = route.strategy
    note = _NOTES[strategy]
    tried = [note(candidate, score) for candidate, score in _RANKINGS[strategy](fit, request, random)]
    chosen = tried[0].name if tried else None
    return Choice(strategy, chosen, tuple(tried + skipped), too_long and not tried)


_TOO_LONG = "input too long"
FULL = "full"


def _unfit(candidate: CandidateView, request: RoutingInput) -> str:
    """Why it cannot serve this request now; empty when it can. What can never change is said first."""
    if candidate.weight <= 0:
        return "drained"
    if request.needs and candidate.capabilities is not None and (lacks := request.needs - candidate.capabilities):
        return "lacks " + ", ".join(sorted(lacks))
    if 0 < candidate.context_length < request.context_tokens:
        return _TOO_LONG
    if candidate.phase in _SPARED:
        return _SPARED[candidate.phase]
    return FULL if candidate.full else ""


def _race(candidate: CandidateView, random: Random) -> float:
    """The smallest comes first; who wins, and who is next, falls to each by its weight."""
    return -math.log(random() or TIES) / candidate.weight


def _weighted(fit: list[CandidateView], request: RoutingInput, random: Random) -> _Ranked:
    return _by([_race(candidate, random) for candidate in fit], fit)


def _priority(fit: list[CandidateView], request: RoutingInput, random: Random) -> _Ranked:
    return _by([(candidate.priority, _race(candidate, random)) for candidate in fit], fit)


def _least_busy(fit: list[CandidateView], request: RoutingInput, random: Random) -> _Ranked:
    return _by([(candidate.in_flight / candidate.weight, _race(candidate, random)) for candidate in fit], fit)


def _cheapest(fit: list[CandidateView], request: RoutingInput, random: Random) -> _Ranked:
    """What has no price comes last."""
    keys = [
        (math.inf if candidate.cost_nanos is None else candidate.cost_nanos, _race(candidate, random))
        for candidate in fit
    ]
    return _by(keys, fit)


def _round_robin(fit: list[CandidateView], request: RoutingInput, random: Random) -> _Ranked:
    """Turns are taken among those that can serve: the one after a dead one does not get its share too."""
    first = request.turn % len(fit) if fit else 0
    return [(candidate, None) for candidate in (*fit[first:], *fit[:first])]


def _least_latency(fit: list[CandidateView], request: RoutingInput, random: Random) -> _Ranked:
    """The better of two picked at random, then the other one, then the rest by score. One of which nothing is known
    counts as fast as the fastest: it is tried, and not by all at once."""
    known = [candidate.latency_ms for candidate in fit if candidate.latency_ms is not None]
    fastest_ms = min(known) if known else 0.0
    scored: list[tuple[float, float, int]] = []
    for index, candidate in enumerate(fit):
        latency_ms = fastest_ms if candidate.latency_ms is None else candidate.latency_ms
        scored.append((latency_ms * (1.0 + LOAD_PER_CALL * candidate.in_flight), random(), index))
    scored.sort()
    if len(fit) > 2:
        one = int(random() * len(fit))
        other = (one + 1 + int(random() * (len(fit) - 1))) % len(fit)
        first, second = scored[min(one, other)], scored[max(one, other)]
        scored = [first, second, *[entry for entry in scored if entry is not first and entry is not second]]
    return [(fit[index], score) for score, _, index in scored]


def _sticky(fit: list[CandidateView], request: RoutingInput, random: Random) -> _Ranked:
    """Rendezvous hashing: each key has an order of its own over all deployments, so that when one is lost only its
    own keys move. Without a key, as `weighted`."""
    if not request.sticky_key:
        return _weighted(fit, request, random)
    hashed = hashlib.blake2b(request.sticky_key.encode("utf-8", "surrogatepass"), digest_size=8)
    scored: list[tuple[float, str, CandidateView]] = []
    for candidate in fit:
        own = hashed.copy()
        own.update(candidate.name.encode())
        share = (int.from_bytes(own.digest()) + 1) / 2.0**64
        scored.append((-math.log(min(share, _BELOW_ONE)) / candidate.weight, candidate.name, candidate))
    scored.sort(key=_first_two)
    return [(candidate, score) for score, _, candidate in scored]


_BELOW_ONE = math.nextafter(1.0, 0.0)


def _first_two(entry: tuple[float, str, CandidateView]) -> tuple[float, str]:
    return entry[:2]


def _by(keys: Sequence[float | tuple[float, float]], fit: list[CandidateView]) -> _Ranked:
    places = sorted(range(len(fit)), key=keys.__getitem__)
    return [(fit[place], None) for place in places]


def _note_latency(candidate: CandidateView, score: float | None) -> Considered:
    """To a tenth of a millisecond."""
    latency_ms = candidate.latency_ms
    return Considered(
        candidate.name,
        in_flight=candidate.in_flight,
        latency_ms=None if latency_ms is None else round(latency_ms * 10.0) / 10.0,
        score=None if score is None else round(score * 10.0) / 10.0,
    )


def _note_weight(candidate: CandidateView, score: float | None) -> Considered:
    return Considered(candidate.name, weight=candidate.weight, score=None if score is None else round(score, 4))


def _note_priority(candidate: CandidateView, score: float | None) -> Considered:
    return Considered(candidate.name, weight=candidate.weight, priority=candidate.priority)


def _note_busy(candidate: CandidateView, score: float | None) -> Considered:
    return Considered(candidate.name, weight=candidate.weight, in_flight=candidate.in_flight)


def _note_cost(candidate: CandidateView, score: float | None) -> Considered:
    return Considered(candidate.name, cost_nanos=candidate.cost_nanos)


def _note_name(candidate: CandidateView, score: float | None) -> Considered:
    return Considered(candidate.name)


_Ranking: TypeAlias = Callable[[list[CandidateView], RoutingInput, Random], _Ranked]
_RANKINGS: dict[Strategy, _Ranking] = {
    "weighted": _weighted,
    "priority": _priority,
    "round_robin": _round_robin,
    "least_latency": _least_latency,
    "least_busy": _least_busy,
    "cheapest": _cheapest,
    "sticky": _sticky,
}
_NOTES: dict[Strategy, Callable[[CandidateView, float | None], Considered]] = {
    "weighted": _note_weight,
    "priority": _note_priority,
    "round_robin": _note_name,
    "least_latency": _note_latency,
    "least_busy": _note_busy,
    "cheapest": _note_cost,
    "sticky": _note_weight,
}
