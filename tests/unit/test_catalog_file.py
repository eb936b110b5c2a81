"""The catalogue file: what a user may write, how it stands beside what ships, and what is refused with a remedy."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from adapters.catalog.declared_provider import DeclaredProvider
from adapters.catalog.file import CatalogEntry, read_catalog, read_providers, read_whole_catalog
from domain.errors import InvalidInput
from domain.pricing import Rates, Tier

NOW = datetime(2026, 11, 1, tzinfo=UTC)
MODEL = """
[[models]]
model = "{name}"
provider = "groq"
upstream_model = "llama"
owned_by = "meta"
context_length = 1000
max_output_tokens = 100
"""
SINGLE = MODEL.format(name="m") + 'valid_from = "2026-01-01"\nusd_per_million = { input = "2.50", output = "10" }\n'
DATED = (
    MODEL.format(name="m")
    + """
[[models.prices]]
valid_from = "2026-03-01"
usd_per_million = { input = "1", output = "0" }
batch = { usd_per_million = { input = "0.5", output = "0" } }

[[models.prices]]
valid_from = 2026-01-01
usd_per_million = { input = "2", cached_input = "0.000000001", output = "0" }
above = [{ prompt_tokens = 200000, usd_per_million = { input = "4", output = "0" } }]
"""
)
PROVIDER = '[[providers]]\nname = "groq"\nprotocol = "openai"\nbase_url = "{url}"\napi_key_env = "GROQ_API_KEY"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.toml"


def read(path: Path, text: str) -> list[CatalogEntry]:
    path.write_text(text)
    return read_catalog(path, NOW)


def test_a_single_price_is_read_as_it_always_was(path: Path) -> None:
    ((listed, (price,)),) = read(path, SINGLE)

    assert (listed.kind, listed.capabilities, listed.input_modalities) == ("chat", (), ("text",))
    assert price.rates == Rates(input=2_500_000_000, output=10_000_000_000)
    assert price.valid_from == datetime(2026, 1, 1, tzinfo=UTC)


def test_dated_prices_have_tiers_and_batches_and_stand_in_the_order_of_their_time(path: Path) -> None:
    ((_, (first, second)),) = read(path, DATED)

    assert first.rates == Rates(input=2_000_000_000, cached_input=1, above=(Tier(200_000, Rates(input=4_000_000_000)),))
    assert (first.valid_from.date(), first.batch) == (date(2026, 1, 1), None)
    assert (second.valid_from.date(), second.batch) == (date(2026, 3, 1), Rates(input=500_000_000))


def test_what_embeds_has_no_price_for_output(path: Path) -> None:
    ((listed, (price,)),) = read(path, SINGLE.replace(', output = "10"', "") + 'kind = "embedding"\n')

    assert (listed.kind, price.rates) == ("embedding", Rates(input=2_500_000_000))


def test_a_model_that_stands_twice_has_both_prices(path: Path) -> None:
    later = SINGLE.replace("2026-01-01", "2027-01-01").replace('"2.50"', '"3"')

    ((_, prices),) = read(path, SINGLE + later)

    assert [(price.valid_from.year, price.rates.input) for price in prices] == [
        (2026, 2_500_000_000),
        (2027, 3 * 10**9),
    ]


def test_the_users_own_entry_takes_the_place_of_the_one_that_ships(path: Path) -> None:
    path.write_text(SINGLE.replace('model = "m"', 'model = "gpt-4o"') + SINGLE)

    whole = {listed.model: (listed, prices) for listed, prices in read_whole_catalog(path, NOW)}

    assert whole["gpt-4o"][0].provider == "groq"
    assert [price.rates.input for price in whole["gpt-4o"][1]] == [2_500_000_000]
    assert {"m", "sim/echo", "claude-opus-5-5"} <= whole.keys()
    assert len(read_whole_catalog(None, NOW)) == len(read_catalog(None, NOW)) == len(whole) - 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[models", "not a catalogue"),
        (MODEL.format(name="m"), "m: tell `prices`"),
        (MODEL.format(name="m") + 'valid_from = "2026-01-01"\n', "m: tell `prices`"),
        (SINGLE + "prices = [{ valid_from = 2026-01-01, usd_per_million = {} }]", "m: tell `prices`"),
        (SINGLE.replace("input", "inputs"), "no token class 'inputs'"),
        (SINGLE.replace('input = "2.50", ', ""), "m: tell what input costs"),
        (SINGLE.replace(', output = "10"', ""), "m: tell what output costs"),
        (DATED.replace('"4", output = "0"', '"4"'), "m: tell what output costs"),
        (SINGLE.replace('"2.50"', '"free"'), "decimal strings"),
        (SINGLE.replace('"2.50"', "2.5"), "Expected `str`"),
        (SINGLE.replace('"2.50"', '"0.0000000001"'), "finer than one nano-USD"),
        (SINGLE.replace('"2.50"', '"nan"'), "no amount"),
        (SINGLE + "colour = 1\n", "unknown field `colour`"),
        (SINGLE + 'capabilities = ["flying"]\n', "flying"),
        (SINGLE + 'kind = "rerank"\n', "rerank"),
        ("models = 3", "Expected `array`"),
    ],
)
def test_a_file_that_says_something_else_is_refused_by_its_name_and_place(
    path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        read(path, text)

    assert complaint in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_a_file_that_is_not_there_or_no_text_is_refused(path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_catalog(path, NOW)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="not a catalogue"):
        read_catalog(path, NOW)


def test_providers_stand_beside_models_or_alone(path: Path) -> None:
    path.write_text(SINGLE + PROVIDER.format(url="https://api.groq.com/openai/v1/"))
    groq = DeclaredProvider(name="groq", base_url="https://api.groq.com/openai/v1", api_key_env="GROQ_API_KEY")

    assert read_providers(path) == (groq,)
    assert len(read_catalog(path, NOW)) == 1
    path.write_text('[[providers]]\nname = "ollama"\nbase_url = "http://localhost:11434/v1"\n')
    assert read_providers(path) == (DeclaredProvider(name="ollama", base_url="http://localhost:11434/v1"),)
    assert read_catalog(path, NOW) == []
    assert read_providers(None) == ()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.8.8.8/v1", "http://[::1]:80/v1", "https://10.0.0.5"])
def test_an_address_is_https_or_this_machines(path: Path, url: str) -> None:
    path.write_text(PROVIDER.format(url=url))

    assert [provider.base_url for provider in read_providers(path)] == [url]


@pytest.mark.parametrize(
    "url",
    [
        "api.groq.com/v1",
        "ftp://api.groq.com",
        "https://",
        "http://api.groq.com/v1",
        "http://10.0.0.5:8000/v1",
        "http://127.0.0.1.example.org/v1",
        "https://user:secret@api.groq.com/v1",
        "https://api.groq.com/v1?key=secret",
        "https://api.groq.com/v1#x",
        "https://api.groq.com:http/v1",
        "https://[::1/v1",
        "https://api.groq.com/ v1",
    ],
)
def test_another_address_is_refused_by_the_providers_name(path: Path, url: str) -> None:
    path.write_text(PROVIDER.format(url=url))

    with pytest.raises(InvalidInput, match="provider 'groq': base_url") as refusal:
        read_providers(path)

    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("name", ["openai", "anthropic", "google", "cohere", "sim", "Groq", "", "a/b", "a b", "grök"])
def test_a_name_that_is_taken_or_does_not_fit_a_model_name_is_refused(path: Path, name: str) -> None:
    path.write_text(PROVIDER.format(url="https://a.example").replace('"groq"', f'"{name}"'))

    with pytest.raises(InvalidInput, match="provider"):
        read_providers(path)


@pytest.mark.parametrize(
    "change",
    [('"GROQ_API_KEY"', '"gsk-123"'), ('"GROQ_API_KEY"', '""'), ('"openai"', '"smtp"'), ("api_key_env", "api_key")],
)
def test_a_provider_that_says_something_else_is_refused(path: Path, change: tuple[str, str]) -> None:
    path.write_text(PROVIDER.format(url="https://a.example").replace(*change))

    with pytest.raises(InvalidInput, match="not a catalogue"):
        read_providers(path)


def test_two_providers_of_one_name_are_refused(path: Path) -> None:
    path.write_text(2 * PROVIDER.format(url="https://a.example"))

    with pytest.raises(InvalidInput, match="taken"):
        read_providers(path)
