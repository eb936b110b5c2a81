"""Who may answer a request, in the order to be asked, and what is needed to find others."""

from datetime import datetime
from typing import Protocol

import msgspec

from domain.catalog import Model
from domain.deployment import Route
from domain.limits import Verdict
from domain.pricing import Price
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
    is how the provider is reached."""

    deployment: str
    model: Model
    price: Price | None
    provider: str
    upstream_model: str
    connection: str


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
    of the one that is free again first."""

    ask: RouteAsk
    trail: tuple[Route, ...]
    candidates: tuple[Candidate, ...]
    choice: Choice | None = None
    full: Verdict | None = None

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
