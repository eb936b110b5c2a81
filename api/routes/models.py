"""What the caller may use, as OpenAI's clients list it, with price and size."""

from typing import Any

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.auth import Caller
from api.compose import Services, now
from api.model_names import find_model, served_models
from domain.catalog import Model
from domain.errors import ModelNotFound
from domain.money import usd
from domain.pricing import TOKEN_CLASSES


class ModelsController(Controller):
    path = "/models"
    tags = ("models",)

    @get(operation_id="list_models", summary="The models that you may use")
    async def list_models(self, services: NamedDependency[Services], caller: NamedDependency[Caller]) -> dict[str, Any]:
        models = served_models(services.directory, services.providers)
        return {"object": "list", "data": [_shown(model) for model in models]}

    @get("/{model:path}", operation_id="read_model", summary="One model")
    async def read_model(
        self, model: FromPath[str], services: NamedDependency[Services], caller: NamedDependency[Caller]
    ) -> dict[str, Any]:
        name = str(model).removeprefix("/")
        found = find_model(services.directory, services.providers, name)
        if found is None:
            raise ModelNotFound(name)
        return _shown(found)


def _shown(model: Model) -> dict[str, Any]:
    price = model.price_at(now())
    pricing: dict[str, Any] | None = None
    if price is not None:
        rates = {name: price.rates.rate_of(name) for name in TOKEN_CLASSES if getattr(price.rates, name) is not None}
        pricing = {
            "price_id": price.price_id,
            "valid_from": price.valid_from,
            "usd_per_million_tokens": {name: usd(rate) for name, rate in rates.items()},
        }
    return {
        "id": model.model,
        "object": "model",
        "created": int(model.listed_at.timestamp()) if model.listed_at else 0,
        "owned_by": model.owned_by,
        "provider": model.provider,
        "context_length": model.context_length,
        "max_output_tokens": model.max_output_tokens,
        "input_modalities": model.input_modalities,
        "pricing": pricing,
    }
