"""What the caller may ask for, models and routes, as OpenAI's and Anthropic's clients list it: abilities, sizes,
prices."""

from datetime import UTC, datetime
from typing import Any

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.auth import Caller
from api.compose import Services, now
from domain.catalog import Model
from domain.errors import ModelNotFound
from domain.money import usd
from domain.pricing import TOKEN_CLASSES, Price, Rates

NEVER = datetime.fromtimestamp(0, UTC)


class ModelsController(Controller):
    path = "/models"
    tags = ("models",)

    @get(operation_id="list_models", summary="The models that you may use")
    async def list_models(self, services: NamedDependency[Services], caller: NamedDependency[Caller]) -> dict[str, Any]:
        """Whole: no client needs a second page. A route hides a model of its name."""
        routes = services.models.routes()
        names = {route.model for route in routes}
        models = [model for model in services.models.served() if model.model not in names]
        data = [_shown(model) for model in (*routes, *models)]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return {"object": "list", "data": data, "has_more": False, "first_id": first, "last_id": last}

    @get("/{model:path}", operation_id="read_model", summary="One model")
    async def read_model(
        self, model: FromPath[str], services: NamedDependency[Services], caller: NamedDependency[Caller]
    ) -> dict[str, Any]:
        name = str(model).removeprefix("/")
        route = next((route for route in services.models.routes() if route.model == name), None)
        found = route or services.models.listed(name)
        if found is None:
            raise ModelNotFound(name)
        return _shown(found)


def _shown(model: Model) -> dict[str, Any]:
    """`abilities`, because to Anthropic's clients `capabilities` are an object of another kind."""
    price = model.price_at(now())
    return {
        "id": model.model,
        "object": "model",
        "type": "model",
        "lifecycle": "active",
        "display_name": model.model,
        "created_at": model.listed_at or NEVER,
        "created": int(model.listed_at.timestamp()) if model.listed_at else 0,
        "owned_by": model.owned_by,
        "provider": model.provider,
        "kind": model.kind,
        "context_length": model.context_length,
        "max_output_tokens": model.max_output_tokens,
        "input_modalities": model.input_modalities,
        "abilities": model.capabilities,
        "pricing": _pricing(price) if price is not None else None,
    }


def _pricing(price: Price) -> dict[str, Any]:
    return {
        "price_id": price.price_id,
        "valid_from": price.valid_from,
        **_rates(price.rates),
        "batch": _rates(price.batch) if price.batch is not None else None,
    }


def _rates(rates: Rates) -> dict[str, Any]:
    """`above` holds for whole requests with longer prompts, the lowest tier first."""
    above = [
        {"above_prompt_tokens": tier.above_prompt_tokens, "usd_per_million_tokens": _usd(tier.rates)}
        for tier in rates.above
    ]
    return {"usd_per_million_tokens": _usd(rates), "above": above}


def _usd(rates: Rates) -> dict[str, str]:
    return {name: usd(rates.rate_of(name)) for name in TOKEN_CLASSES if getattr(rates, name) is not None}
