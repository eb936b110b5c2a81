"""Who may answer a request, in the order to be asked, and what is needed to find others."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

import msgspec

from domain.catalog import Model
from domain.deployment import Deployment, Route
from domain.limits import Verdict
from domain.pricing import Price, ceiling_nanos
from domain.routing import Choice
from domain.upstream import Endpoint


class Sizes(Protocol):
    """How large a request may become at a model, in tokens."""

    def max_output_tokens(self, model: Model) -> int:
        """Of one choice."""
        ...

    def input_bound(self, model: Model) -> int:
        """More than its input can have."""
        ...


class Candidate(msgspec.Struct, frozen=True):
    """A model at a provider, and what it costs. `deployment` is empty for a plain model of the catalogue; `connection`
    is how the provider is reached. `declared` is the deployment as the catalogue had it; a plain model has none."""

    deployment: str
    model: Model
    price: Price | None
    provider: str
    upstream_model: str
    connection: str
    declared: Deployment | None = None

    def ceiling_nanos(self, sizes: Sizes, choices: int, unpriced_nanos: int) -> int:
        """The most that a request may cost here."""
        if self.price is None:
            return unpriced_nanos
        model = self.model
        return ceiling_nanos(sizes.input_bound(model), sizes.max_output_tokens(model) * choices, self.price.rates)


class Bounds(msgspec.Struct, frozen=True):
    """The most that a request may take, whoever of the candidates answers: `output_tokens` of one choice, and nanos, of
    which `ceilings` says how many by deployment. `choices` and `unpriced_nanos` are what that was reckoned with."""

    output_tokens: int
    dearest_nanos: int
    ceilings: Mapping[str, int]
    choices: int
    unpriced_nanos: int

    def ceilings_of(self, candidates: tuple[Candidate, ...], sizes: Sizes) -> Mapping[str, int]:
        """Of others, for the same request."""
        return {each.deployment: each.ceiling_nanos(sizes, self.choices, self.unpriced_nanos) for each in candidates}


class Resolved(msgspec.Struct, frozen=True):
    """Who may answer by a name, as the catalogue is, before anybody is chosen. `name` is the catalogue's own. A plain
    model has a route of its own; of another one `candidates` are those that this process can reach, drained ones too.
    """

    name: str
    route: Route
    is_plain: bool
    candidates: tuple[Candidate, ...]

    def bounds(self, sizes: Sizes, choices: int, unpriced_nanos: int) -> Bounds:
        """Of those who may be chosen. Without any of them nothing is taken here."""
        output_tokens = nanos = dearest_nanos = 0
        ceilings: dict[str, int] = {}
        last: Candidate | None = None
        for each in self.candidates:
            if each.declared is not None and each.declared.weight <= 0:
                continue
            if last is None or each.model is not last.model:
                last, nanos = each, each.ceiling_nanos(sizes, choices, unpriced_nanos)
                output_tokens = max(output_tokens, sizes.max_output_tokens(each.model))
                dearest_nanos = max(dearest_nanos, nanos)
            ceilings[each.deployment] = nanos
        return Bounds(output_tokens, dearest_nanos, ceilings, choices, unpriced_nanos)


class RouteAsk(msgspec.Struct, frozen=True, kw_only=True):
    """What routing looks at in a request. `needs` are capabilities, `context_tokens` the fewest tokens that it takes;
    `key` and `user` are whom a sticky route may hold on to."""

    endpoint: Endpoint
    at: datetime
    sizes: Sizes
    stream: bool = False
    needs: frozenset[str] = frozenset()
    context_tokens: int = 0
    input_estimate: int = 0
    key: str = ""
    user: str = ""


class RoutePlan(msgspec.Struct, frozen=True, kw_only=True):
    """`trail` is the asked route and those fallen back to since, because nobody there could take the request at all;
    `candidates` are of its last one, `choice` of the last that had to choose. A plain model is asked once, by nobody
    else. `full`: of the deployments that were left out because they have all that their providers grant, what is said
    of the one that is free again first. `ceilings` are the most that it may cost at each deployment; there are none
    when it was planned without bounds."""

    ask: RouteAsk
    trail: tuple[Route, ...]
    candidates: tuple[Candidate, ...]
    choice: Choice | None = None
    full: Verdict | None = None
    ceilings: Mapping[str, int] = {}

    @property
    def dearest_nanos(self) -> int:
        """The most that it may cost at its candidates; it was planned with bounds."""
        return max([self.ceilings[each.deployment] for each in self.candidates])

    def ceiling_of(self, candidate: Candidate) -> int | None:
        """None for others than its own candidates, and without bounds."""
        if self.is_plain:
            return self.ceilings.get(self.candidates[0].deployment)
        return self.ceilings.get(candidate.deployment) if candidate in self.candidates else None

    @property
    def is_plain(self) -> bool:
        return self.choice is None

    def after(self, route: Route) -> Route:
        """The one route of this plan, when `route` falls back to it: a plain model gets as long as the others there."""
        (own,) = self.trail
        timeout_s = route.attempt_timeout_s if self.is_plain else own.attempt_timeout_s
        return msgspec.structs.replace(own, attempt_timeout_s=timeout_s)

    @property
    def too_long(self) -> bool:
        return not self.candidates and self.choice is not None and self.choice.too_long


class Fallbacks(Protocol):
    def ordered(self, name: str, ask: RouteAsk) -> RoutePlan:
        """Of a route or a model, perhaps without candidates. Raises InvalidInput for what cannot be asked."""
        ...
