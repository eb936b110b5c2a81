"""The catalogue that ships is what genai-prices says: made anew it is the same file, and it charges to the nano alike.

Where both differ is written down here. Cached sound and pictures have no class of their own with us: they are charged
as cached text, so that no usage below reports any.
"""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from pathlib import Path

import pytest
from click.testing import CliRunner
from genai_prices.types import ModelInfo, Provider

from adapters.catalog.by_hand import ByHand, LeftOut, Names, read_by_hand
from adapters.catalog.file import CatalogEntry, read_catalog
from adapters.catalog.genai import BATCH, SINCE_EVER, genai_providers
from adapters.catalog.import_prices import COMMENT, VENDORS, import_prices
from adapters.catalog.toml_text import catalog_text
from api.cli.catalog import command
from domain.catalog import MODEL, Model, ModelPriced, evolve, price_model
from domain.errors import InvalidInput
from domain.pricing import TOKEN_CLASSES, Tokens, cost_nanos
from tests.genai_prices import genai_nanos

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SHIPPED = {listed.model: (listed, prices) for listed, prices in read_catalog(None, NOW)}
BY_HAND = {entry.model for entry in read_by_hand().models}
IMPORTED = [name for name in SHIPPED if name not in BY_HAND]
PROVIDERS = genai_providers()
CLASS_SETS: list[dict[str, int]] = [
    *({name: 123_457} for name in TOKEN_CLASSES),
    {name: 1_000 + 7 * place for place, name in enumerate(TOKEN_CLASSES)},
]


def genai_model(name: str) -> tuple[ModelInfo, Provider]:
    listed, _ = SHIPPED[name]
    provider = PROVIDERS[listed.provider]
    model = provider.find_model(listed.upstream_model)
    assert model is not None
    return model, provider


def priced(name: str) -> Model:
    listed, prices = SHIPPED[name]
    model = evolve(MODEL.initial(), listed)
    for fact in price_model(model, *prices):
        model = evolve(model, fact)
    return model


def instants_of(prices: tuple[ModelPriced, ...]) -> Iterator[datetime]:
    """Each price in force at its first and its last instant."""
    for price in prices:
        yield price.valid_from
        if price is not prices[0]:
            yield price.valid_from - timedelta(microseconds=1)
    yield NOW


def usages_of(model: Model) -> Iterator[Tokens]:
    """Every class alone and all together; and at each edge of a tier, as plain and as cached prompts."""
    yield from (Tokens(**classes) for classes in CLASS_SETS)
    edges = {tier.above_prompt_tokens for price in model.prices for tier in price.rates.above} | {200_000}
    for edge in sorted(edges):
        for prompt in (edge - 1, edge, edge + 1):
            yield Tokens(input=prompt, output=1_001, reasoning=13)
            yield Tokens(input=1, cached_input=prompt - 1, output=1_001)
            yield Tokens(cached_input=prompt - 2, cache_write_5m=1, cache_write_1h=1, output=1)


@pytest.mark.parametrize("name", IMPORTED)
def test_a_shipped_model_charges_what_genai_prices_does_in_every_class_tier_and_time(name: str) -> None:
    ours, (theirs, provider) = priced(name), genai_model(name)
    _, prices = SHIPPED[name]

    for at in sorted(set(instants_of(prices))):
        price = ours.price_at(at)
        assert price is not None
        for tokens in usages_of(ours):
            assert cost_nanos(tokens, price.rates) == genai_nanos(theirs, provider, tokens, at, {}), (at, tokens)
            if price.batch is not None:
                batch = genai_nanos(theirs, provider, tokens, at, BATCH)
                assert cost_nanos(tokens, price.batch) == batch, (at, tokens)


def test_what_is_kept_by_hand_is_either_unknown_to_genai_prices_or_known_wrong() -> None:
    """An override that is no longer needed is taken out when the library is."""
    known = {
        name
        for name in BY_HAND
        if (provider := PROVIDERS.get(SHIPPED[name][0].provider))
        and provider.find_model(SHIPPED[name][0].upstream_model)
    }

    assert known == {"gpt-4o-audio-preview", "gpt-4o-mini-audio-preview"}
    heard = Tokens(audio_input=1_000_000, audio_output=1_000_000)
    assert cost_nanos(heard, SHIPPED["gpt-4o-audio-preview"][1][0].rates) == 120 * 10**9
    assert genai_nanos(*genai_model("gpt-4o-audio-preview"), heard, NOW, {}) == 12_500_000_000


def test_the_price_of_o3_fell_on_the_tenth_of_june_2025() -> None:
    prices = SHIPPED["o3"][1]

    assert [(price.valid_from.date(), price.rates.input) for price in prices] == [
        (SINCE_EVER, 10 * 10**9),
        (date(2025, 6, 10), 2 * 10**9),
        (date(2026, 10, 14), 2 * 10**9),
    ]
    assert [price.batch and price.batch.input for price in prices] == [None, None, 10**9]


def test_a_long_prompt_doubles_gemini_2_5_pro() -> None:
    rates = SHIPPED["gemini-2.5-pro"][1][-1].rates

    assert cost_nanos(Tokens(input=200_000), rates) == 250_000_000
    assert cost_nanos(Tokens(input=1, cached_input=200_000), rates) == 200_000 * 250 + 2_500
    assert cost_nanos(Tokens(input=200_001), rates) == 500_002_500


@pytest.mark.parametrize(
    "name",
    [
        *("gpt-4o", "gpt-4o-mini", "gpt-5", "gpt-6.1-sol", "gpt-3.5-turbo", "o3", "o4-mini", "text-embedding-3-small"),
        *("claude-opus-5-5", "claude-sonnet-4-5-20250929", "claude-haiku-4-5", "gemini-2.5-flash", "gemini-4-argon"),
        *("gemini-embedding-001", "command-a-03-2025", "command-r7b-12-2024", "embed-v4.0", "embed-english-v3.0"),
    ],
)
def test_what_people_ask_for_ships(name: str) -> None:
    listed, prices = SHIPPED[name]

    assert listed.kind == ("embedding" if "embed" in name else "chat")
    assert prices[-1].rates.input > 0


def test_no_shipped_model_answers_more_than_it_holds_and_only_chats_answer() -> None:
    for listed, prices in SHIPPED.values():
        assert 0 <= listed.max_output_tokens <= listed.context_length
        assert (listed.max_output_tokens == 0) == (listed.kind == "embedding")
        assert (prices[-1].rates.output == 0) == (listed.kind == "embedding" or listed.model == "sim/free")


def test_the_file_that_ships_is_what_the_command_makes() -> None:
    """When this fails, run `agg catalog import-prices --write adapters/catalog/models.toml` and read the difference."""
    text = (resources.files("adapters.catalog") / "models.toml").read_text()

    assert catalog_text(import_prices((), NOW).entries, COMMENT) == text


def test_what_is_written_is_read_again_as_it_was(tmp_path: Path) -> None:
    entries = import_prices(("groq",), NOW).entries
    (tmp_path / "groq.toml").write_text(catalog_text(entries, "Groq"))

    assert entries and read_catalog(tmp_path / "groq.toml", NOW) == entries


def test_every_model_of_a_vendor_is_shipped_or_left_out_for_a_reason() -> None:
    imported = import_prices((), NOW)
    named = {(listed.provider, listed.upstream_model) for listed, _ in imported.entries}
    named |= {(listed.provider, listed.model) for listed, _ in imported.entries}
    named |= {(each.provider, each.model) for each in imported.left_out}

    for vendor in VENDORS:
        assert {(vendor, model.id) for model in PROVIDERS[vendor].models} <= named
    assert all(each.why for each in imported.left_out)


def test_of_a_provider_that_nothing_is_kept_of_an_answer_may_be_as_long_as_the_context() -> None:
    entries = import_prices(("mistral",), NOW).entries

    assert entries
    assert all(listed.provider == "mistral" for listed, _ in entries)
    assert all(listed.max_output_tokens == listed.context_length for listed, _ in entries)


def test_a_provider_that_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"'ollama'.*groq"):
        import_prices(("ollama",), NOW)


def test_what_is_kept_by_hand_gives_names_and_leaves_out() -> None:
    by_hand = ByHand(
        names=(Names(provider="groq", priced_as="qwen/qwen3-32b", models={"qwen3": "qwen/qwen3-32b"}),),
        left_out=(LeftOut(provider="groq", models=("qwen/*",), why="its name is too long"),),
    )

    imported = import_prices(("groq",), NOW, by_hand)

    entries: dict[str, CatalogEntry] = {listed.model: (listed, prices) for listed, prices in imported.entries}
    assert entries["qwen3"][0].upstream_model == "qwen/qwen3-32b"
    assert {each.why for each in imported.left_out if each.model.startswith("qwen/")} == {"its name is too long"}


def test_the_command_writes_the_file_and_tells_scripts_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"

    told = CliRunner().invoke(command, ["import-prices", "--provider", "cohere", "--write", str(path), "--json"])

    data = json.loads(told.stdout)
    assert told.exit_code == 0
    assert [each["model"] for each in data["models"]] == [listed.model for listed, _ in read_catalog(path, NOW)]
    assert {each["provider"] for each in data["left_out"]} == {"cohere"}


def test_without_a_place_the_command_writes_to_stdout_and_complains_beside_it() -> None:
    told = CliRunner().invoke(command, ["import-prices"])

    assert told.stdout == (resources.files("adapters.catalog") / "models.toml").read_text()
    assert "left out: openai whisper-1: it is sold by audio_hours" in told.stderr
