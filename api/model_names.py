"""From the name a client asks for to a model that this process can serve, and what it costs."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from adapters.live_directory import LiveDirectory
from domain.catalog import Model
from domain.declared_route import CatalogRoute
from domain.errors import InvalidInput, ModelNotFound, UnsupportedParameter
from domain.ports import Provider
from domain.pricing import Price
from domain.upstream import Endpoint

UNLISTED_CONTEXT, UNLISTED_OUTPUT = 1_000_000, 8_192
"""Tokens that a model of which nothing is known is taken to hold, and to write at most where nothing is said."""
ROUTE_OWNER = "route"
NAMED = 6
"""How many models a refusal names."""


class ModelNames:
    """`unlisted`: whether `provider/model` names that the catalogue does not list are served, without a price."""

    def __init__(self, directory: LiveDirectory, providers: Mapping[str, Provider], *, unlisted: bool) -> None:
        self._directory = directory
        self._providers = providers
        self._unlisted = unlisted

    def find(self, name: str, at: datetime, endpoint: Endpoint) -> tuple[Model, Price | None]:
        """Raises ModelNotFound, and InvalidInput for a model of another kind than the endpoint's."""
        model = self.listed(name) or self._unlisted_model(name)
        price = model and model.price_at(at)
        if model is None or (price is None and not self._unlisted):
            raise ModelNotFound(name)
        if model.listed_at is not None and not fits(model, endpoint):
            others = self._that_can(endpoint, endpoint)
            raise InvalidInput(f"model: {name} does not serve {endpoint}. {others}", field="model")
        return model, price

    def described(self, name: str, at: datetime, endpoint: Endpoint) -> tuple[Model, Price | None]:
        """As `find`, whoever serves it: a deployment says that itself."""
        model = self._directory.model(name)
        price = model and model.price_at(at)
        if model is None or not fits(model, endpoint) or (price is None and not self._unlisted):
            raise ModelNotFound(name)
        return model, price

    def listed(self, name: str) -> Model | None:
        """A catalogue name (`gpt-4o`, `sim/echo`), or `provider/name` for one whose name has no provider in it."""
        model = self._directory.model(name)
        if model is None and "/" in name:
            provider, _, rest = name.partition("/")
            model = self._directory.model(rest)
            if model is not None and model.provider != provider:
                return None
        return model if model is not None and model.provider in self._providers else None

    def served(self) -> list[Model]:
        """By name."""
        served = [model for model in self._directory.models().values() if model.provider in self._providers]
        return sorted(served, key=lambda model: model.model)

    def routes(self) -> list[Model]:
        """What routes that can be served from here offer, by name: their own name, and the sizes and prices of their
        first deployment's model."""
        found = [self._behind(each) for each in self._directory.routes().values()]
        return sorted((model for model in found if model is not None), key=lambda model: model.model)

    def _behind(self, each: CatalogRoute) -> Model | None:
        known = self._directory.deployments()
        deployments = [known[name] for name in each.route.deployments if name in known]
        if not any(deployment.provider in self._providers for deployment in deployments):
            return None
        model = self._directory.model(deployments[0].model)
        return model and msgspec.structs.replace(model, model=each.route.name, owned_by=ROUTE_OWNER)

    def with_remedy(self, refused: UnsupportedParameter, endpoint: Endpoint) -> UnsupportedParameter:
        """The same refusal, with the models that would do."""
        if not refused.capability:
            return refused
        message = f"{refused} {self._that_can(refused.capability, endpoint)}"
        return UnsupportedParameter(refused.field or "", message, capability=refused.capability)

    def _that_can(self, capability: str, endpoint: Endpoint) -> str:
        able = [
            model.model
            for model in self.served()
            if fits(model, endpoint) and self._providers[model.provider].can(capability)
        ]
        if not able:
            return "No model here can."
        more = f" and {len(able) - NAMED} more (GET /api/v1/models)" if len(able) > NAMED else ""
        return f"Models that can: {', '.join(able[:NAMED])}{more}."

    def _unlisted_model(self, name: str) -> Model | None:
        provider, slash, rest = name.partition("/")
        if not (self._unlisted and slash and rest and provider in self._providers):
            return None
        return Model(name, provider, rest, UNLISTED_CONTEXT, UNLISTED_OUTPUT, provider)


def fits(model: Model, endpoint: Endpoint) -> bool:
    """Chats and embeddings are different models."""
    return (model.kind == "embedding") == (endpoint == "embeddings")
