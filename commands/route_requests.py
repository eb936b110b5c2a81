"""From the name a client asks for to those who may answer, in order: the deployments of a route, or the one model."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Protocol

from commands.deployment_views import DeploymentViews
from commands.route_limits import RouteLimits, soonest
from commands.route_plan import Candidate, RouteAsk, RoutePlan
from domain.breakers import Breakers
from domain.catalog import Model
from domain.deployment import Deployment, Route
from domain.errors import DeploymentsFull, InvalidInput
from domain.failover import FallBackTo, GiveUp, Now, Plan, next_step
from domain.limits import Verdict
from domain.pricing import Price, Tokens, cost_nanos
from domain.routing import FULL, CandidateView, Choice, RoutingInput, order
from domain.upstream import Endpoint


class RoutingDirectory(Protocol):
    """Deployments and routes by name, as they are now."""

    def deployments(self) -> Mapping[str, Deployment]: ...

    def routes(self) -> Mapping[str, Route]: ...


class Models(Protocol):
    def find(self, name: str, at: datetime, endpoint: Endpoint) -> tuple[Model, Price | None]:
        """Raises ModelNotFound, and InvalidInput for a model of another kind than the endpoint's."""
        ...

    def described(self, name: str, at: datetime, endpoint: Endpoint) -> tuple[Model, Price | None]:
        """The same for a model that is reached otherwise than usual."""
        ...


class RouteBook:
    """`serves` is whether this process has a connection; what it cannot reach is no candidate."""

    def __init__(
        self,
        directory: RoutingDirectory,
        models: Models,
        serves: Callable[[str], bool],
        breakers: Breakers,
        views: DeploymentViews,
        limits: RouteLimits,
        random: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._models = models
        self._serves = serves
        self._breakers = breakers
        self._views = views
        self._limits = limits
        self._random = random
        self._turns: dict[str, int] = {}

    def plan(self, name: str, ask: RouteAsk) -> RoutePlan:
        """With candidates: of the route, or of the first of its fallbacks that has some.

        Raises ModelNotFound, InvalidInput (too long for all), DeploymentsFull when somebody could take it but for the
        limits, and Unavailable when nobody can now.
        """
        plan = self.ordered(name, ask)
        hopeless: set[str] = set()
        while not plan.candidates:
            start = Plan(plan.trail, (), 0.0, plan.too_long)
            step = next_step(start, (), Now(0.0, hopeless=frozenset(hopeless)), self._random)
            if isinstance(step, GiveUp):
                raise DeploymentsFull(plan.full) if plan.full else step.error
            assert isinstance(step, FallBackTo), "there is nobody to try"
            try:
                other = self.ordered(step.model, ask)
            except InvalidInput:
                hopeless.add(step.model)
                continue
            plan = RoutePlan(
                ask=ask,
                trail=(*plan.trail, other.after(plan.trail[-1])),
                candidates=other.candidates,
                choice=other.choice or plan.choice,
                full=soonest(plan.full, other.full),
            )
        return plan

    def ordered(self, name: str, ask: RouteAsk) -> RoutePlan:
        """Of this name alone, perhaps without candidates. Raises ModelNotFound and InvalidInput."""
        route = self._directory.routes().get(name)
        if route is None:
            return self._plain(name, ask)
        found = self._candidates(route, ask)
        full = self._full(found)
        choice = self._choice(route, found, full, ask)
        return RoutePlan(
            ask=ask,
            trail=(route,),
            candidates=tuple([found[each][0] for each in choice.order]),
            choice=choice,
            full=soonest(*[full[each.name] for each in choice.considered if each.skipped is FULL]),
        )

    def _plain(self, name: str, ask: RouteAsk) -> RoutePlan:
        model, price = self._models.find(name, ask.at, ask.endpoint)
        alone = _alone(model.model)
        candidate = Candidate(alone.deployments[0], model, price, model.provider, model.upstream_model, model.provider)
        return RoutePlan(ask=ask, trail=(alone,), candidates=(candidate,))

    def _candidates(self, route: Route, ask: RouteAsk) -> dict[str, tuple[Candidate, Deployment]]:
        """Those that exist, that this process can reach, and whose model serves the endpoint."""
        deployments = self._directory.deployments()
        found: dict[str, tuple[Candidate, Deployment]] = {}
        for name in route.deployments:
            deployment = deployments.get(name)
            if deployment is None or not self._serves(deployment.connection):
                continue
            try:
                model, price = self._models.described(deployment.model, ask.at, ask.endpoint)
            except InvalidInput:
                continue
            found[name] = (
                Candidate(name, model, price, deployment.provider, deployment.upstream_model, deployment.connection),
                deployment,
            )
        return found

    def _full(self, found: Mapping[str, tuple[Candidate, Deployment]]) -> dict[str, Verdict]:
        """Those that would be refused, with what speaks against them."""
        full: dict[str, Verdict] = {}
        for name, (_, deployment) in found.items():
            refusal = self._limits.full(deployment, self._views.in_flight(name))
            if refusal is not None:
                full[name] = refusal
        return full

    def _choice(
        self, route: Route, found: Mapping[str, tuple[Candidate, Deployment]], full: Collection[str], ask: RouteAsk
    ) -> Choice:
        views = [
            self._view(route, candidate, deployment, ask, full=name in full)
            for name, (candidate, deployment) in found.items()
        ]
        sticky_key = {"key": ask.key, "user": ask.user, None: ""}[route.sticky_by]
        request = RoutingInput(
            needs=ask.needs, context_tokens=ask.context_tokens, sticky_key=sticky_key, turn=self._turn(route)
        )
        return order(route, views, request, self._random)

    def _view(
        self, route: Route, candidate: Candidate, deployment: Deployment, ask: RouteAsk, *, full: bool
    ) -> CandidateView:
        model, name = candidate.model, candidate.deployment
        by_latency, by_cost = route.strategy == "least_latency", route.strategy == "cheapest"
        return CandidateView(
            name=name,
            weight=deployment.weight,
            priority=deployment.priority,
            phase=self._breakers.phase(name),
            in_flight=self._views.in_flight(name),
            full=full,
            latency_ms=self._views.latency_ms(name, stream=ask.stream) if by_latency else None,
            cost_nanos=_cost_nanos(candidate, ask) if by_cost else None,
            context_length=model.context_length,
            capabilities=frozenset(model.capabilities) if model.capabilities else None,
        )

    def _turn(self, route: Route) -> int:
        """Counted for routes that there are."""
        if route.strategy != "round_robin":
            return 0
        turn = self._turns.get(route.name, 0)
        self._turns[route.name] = turn + 1
        routes = self._directory.routes()
        if len(self._turns) > len(routes):
            self._turns = {name: count for name, count in self._turns.items() if name in routes}
        return turn


@lru_cache(maxsize=4_096)
def _alone(model: str) -> Route:
    """Not confused with a deployment of the same name."""
    return Route(name=model, deployments=(f"model:{model}",), attempts_max=1)


def _cost_nanos(candidate: Candidate, ask: RouteAsk) -> int | None:
    if candidate.price is None:
        return None
    tokens = Tokens(input=ask.input_estimate, output=ask.sizes.max_output_tokens(candidate.model))
    return cost_nanos(tokens, candidate.price.rates)
