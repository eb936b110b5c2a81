"""From the name a client asks for to those who may answer, in order: the deployments of a route, or the one model."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from commands.deployment_views import DeploymentViews
from commands.route_limits import RouteLimits, soonest
from commands.route_plan import Bounds, Candidate, Resolved, RouteAsk, RoutePlan
from domain.breakers import Breakers
from domain.catalog import Model
from domain.deployment import Deployment, Limits, Route, Strategy
from domain.errors import DeploymentsFull, InvalidInput
from domain.failover import FallBackTo, GiveUp, Now, Plan, next_step
from domain.limits import Verdict
from domain.pricing import Price, Tokens, cost_nanos
from domain.routing import FULL, CandidateView, RoutingInput, order
from domain.upstream import Endpoint

_UNLIMITED = Limits()
_BY_LOAD: frozenset[Strategy] = frozenset({"least_latency", "least_busy"})


class RoutingDirectory(Protocol):
    """Deployments and routes by name, as they are now. `edition` is another one after every change of them, of the
    models, of what they cost at that time, and of what this process can reach."""

    def edition(self, at: datetime) -> int: ...

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
        self._edition = -1
        self._resolved: dict[tuple[str, Endpoint], Resolved] = {}

    def resolve(self, name: str, endpoint: Endpoint, at: datetime) -> Resolved:
        """As the catalogue is at that time, which is remembered until it changes. Raises ModelNotFound and
        InvalidInput."""
        edition = self._directory.edition(at)
        if edition != self._edition:
            self._resolved.clear()
            self._edition = edition
        known = self._resolved.get((name, endpoint))
        return self._looked_up(name, endpoint, at) if known is None else known

    def _looked_up(self, name: str, endpoint: Endpoint, at: datetime) -> Resolved:
        """Only what the catalogue lists is remembered: of other names clients could make up any number."""
        route = self._directory.routes().get(name)
        if route is not None:
            found = Resolved(name, route, False, self._candidates(route, endpoint, at))
        else:
            model, price = self._models.find(name, at, endpoint)
            found = _alone(model, price)
            if model.listed_at is None:
                return found
        self._resolved[name, endpoint] = found
        return found

    def _candidates(self, route: Route, endpoint: Endpoint, at: datetime) -> tuple[Candidate, ...]:
        """Those that exist, that this process can reach, and whose model serves the endpoint."""
        deployments = self._directory.deployments()
        found: list[Candidate] = []
        for name in route.deployments:
            each = deployments.get(name)
            if each is None or not self._serves(each.connection):
                continue
            try:
                model, price = self._models.described(each.model, at, endpoint)
            except InvalidInput:
                continue
            found.append(Candidate(name, model, price, each.provider, each.upstream_model, each.connection, each))
        return tuple(found)

    def plan(self, resolved: Resolved, ask: RouteAsk, bounds: Bounds | None = None) -> RoutePlan:
        """With candidates: of the name, or of the first of its fallbacks that has some.

        Raises ModelNotFound, InvalidInput (too long for all), DeploymentsFull when somebody could take it but for the
        limits, and Unavailable when nobody can now.
        """
        plan = self._ordered(resolved, ask, bounds.ceilings if bounds else {})
        return plan if plan.candidates else self._fallen_back(plan, ask, bounds)

    def _fallen_back(self, plan: RoutePlan, ask: RouteAsk, bounds: Bounds | None) -> RoutePlan:
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
                ceilings=bounds.ceilings_of(other.candidates, ask.sizes) if bounds else {},
            )
        return plan

    def ordered(self, name: str, ask: RouteAsk) -> RoutePlan:
        """Of this name alone, perhaps without candidates. Raises ModelNotFound and InvalidInput."""
        return self._ordered(self.resolve(name, ask.endpoint, ask.at), ask, {})

    def _ordered(self, resolved: Resolved, ask: RouteAsk, ceilings: Mapping[str, int]) -> RoutePlan:
        route = resolved.route
        if resolved.is_plain:
            return RoutePlan(ask=ask, trail=(route,), candidates=resolved.candidates, ceilings=ceilings)
        full: dict[str, Verdict] = {}
        views = [self._view(route.strategy, candidate, ask, full) for candidate in resolved.candidates]
        sticky_key = ask.key if route.sticky_by == "key" else ask.user if route.sticky_by else ""
        request = RoutingInput(
            needs=ask.needs, context_tokens=ask.context_tokens, sticky_key=sticky_key, turn=self._turn(route)
        )
        choice = order(route, views, request, self._random)
        by_name = {candidate.deployment: candidate for candidate in resolved.candidates}
        return RoutePlan(
            ask=ask,
            trail=(route,),
            candidates=tuple([by_name[each.name] for each in choice.considered if not each.skipped]),
            choice=choice,
            full=soonest(*[full[each.name] for each in choice.considered if each.skipped is FULL]) if full else None,
            ceilings=ceilings,
        )

    def _view(self, strategy: Strategy, candidate: Candidate, ask: RouteAsk, full: dict[str, Verdict]) -> CandidateView:
        """Only what the strategy looks at is looked up. `full` is told what speaks against it, if its limits do."""
        deployment, model, name = candidate.declared, candidate.model, candidate.deployment
        assert deployment is not None, "a plain model has nobody to choose from"
        is_limited = deployment.limits != _UNLIMITED
        in_flight = self._views.in_flight(name) if is_limited or strategy in _BY_LOAD else 0
        refusal = self._limits.full(deployment, in_flight) if is_limited else None
        if refusal is not None:
            full[name] = refusal
        return CandidateView(
            name=name,
            weight=deployment.weight,
            priority=deployment.priority,
            phase=self._breakers.phase(name),
            in_flight=in_flight,
            full=refusal is not None,
            latency_ms=self._views.latency_ms(name, stream=ask.stream) if strategy == "least_latency" else None,
            cost_nanos=_cost_nanos(candidate, ask) if strategy == "cheapest" else None,
            context_length=model.context_length,
            capabilities=frozenset(model.capabilities) if ask.needs and model.capabilities else None,
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


def _alone(model: Model, price: Price | None) -> Resolved:
    """Not confused with a deployment of the same name."""
    name = f"model:{model.model}"
    route = Route(name=model.model, deployments=(name,), attempts_max=1)
    candidate = Candidate(name, model, price, model.provider, model.upstream_model, model.provider)
    return Resolved(model.model, route, True, (candidate,))


def _cost_nanos(candidate: Candidate, ask: RouteAsk) -> int | None:
    if candidate.price is None:
        return None
    tokens = Tokens(input=ask.input_estimate, output=ask.sizes.max_output_tokens(candidate.model))
    return cost_nanos(tokens, candidate.price.rates)
