"""What GET /models shows of a model: OpenAI's members, and beside them what it can, its sizes and its price."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from anthropic.types import ModelInfo as AnthropicModel
from openai.types import Model as OpenAIModel

from adapters.catalog.file import read_catalog
from api.routes.models import ModelsController
from domain.catalog import MODEL, Model, list_model, price_model
from domain.pricing import Rates, Tier

NOW = datetime(2026, 11, 23, tzinfo=UTC)
MODELS = {
    listed.model: MODEL.fold([*list_model(MODEL.initial(), listed), *price_model(MODEL.initial(), *prices)])
    for listed, prices in read_catalog(None, NOW)
}


async def shown(models: list[Model], routes: list[Model] | None = None) -> dict[str, dict[str, Any]]:
    names = SimpleNamespace(served=lambda: models, routes=lambda: routes or [])
    services = cast(Any, SimpleNamespace(models=names))
    answer = await ModelsController.list_models.fn(cast(Any, None), services, cast(Any, None))
    return {model["id"]: model for model in msgspec.json.decode(msgspec.json.encode(answer))["data"]}


async def test_every_shipped_model_is_one_of_openais_and_says_what_it_can() -> None:
    for name, model in (await shown(list(MODELS.values()))).items():
        read = OpenAIModel.model_validate(model, strict=True)
        AnthropicModel.model_validate(model)

        assert (read.id, read.object, read.created) == (name, "model", int(NOW.timestamp()))
        assert set(model) == {
            *("id", "object", "created", "owned_by", "provider", "kind", "context_length", "max_output_tokens"),
            *("input_modalities", "abilities", "pricing"),
            *("type", "lifecycle", "display_name", "created_at"),
        }


async def test_a_price_shows_its_tiers_its_cache_and_its_batch() -> None:
    rates = Rates(input=2_000_000_000, cached_input=200_000_000, output=10**10, above=(Tier(9, Rates(input=1)),))
    priced = msgspec.structs.replace(
        MODELS["o3"].prices[0], valid_from=NOW - timedelta(days=99), rates=rates, batch=Rates(input=10**9)
    )

    pricing = (await shown([Model(model="m", prices=(priced,))]))["m"]["pricing"]

    assert pricing == {
        "price_id": priced.price_id,
        "valid_from": "2026-08-16T00:00:00Z",
        "usd_per_million_tokens": {"input": "2.00", "cached_input": "0.20", "output": "10.00"},
        "above": [{"above_prompt_tokens": 9, "usd_per_million_tokens": {"input": "0.000000001", "output": "0.00"}}],
        "batch": {"usd_per_million_tokens": {"input": "1.00", "output": "0.00"}, "above": []},
    }


async def test_what_has_no_price_today_shows_none() -> None:
    assert (await shown([Model(model="m")]))["m"]["pricing"] is None


async def test_what_embeds_says_so() -> None:
    embedding = (await shown([MODELS["text-embedding-3-small"]]))["text-embedding-3-small"]

    assert (embedding["kind"], embedding["max_output_tokens"], embedding["abilities"]) == (
        "embedding",
        0,
        ["batch", "dimensions"] if embedding["pricing"]["batch"] else ["dimensions"],
    )


async def test_a_route_stands_before_the_models_and_hides_the_one_of_its_name() -> None:
    route = msgspec.structs.replace(MODELS["o3"], model="gpt-4o", owned_by="route")

    found = await shown([MODELS["gpt-4o"], MODELS["o3"]], [route])

    assert list(found) == ["gpt-4o", "o3"]
    assert (found["gpt-4o"]["owned_by"], found["gpt-4o"]["max_output_tokens"]) == ("route", route.max_output_tokens)
