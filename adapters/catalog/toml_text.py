"""A catalogue as the text of its TOML file: the same entries give the same bytes, and are read again as they were."""

import json
from collections.abc import Iterable, Iterator, Sequence

from adapters.catalog.file import CatalogEntry
from domain.catalog import Kind, ModelListed, ModelPriced
from domain.money import usd
from domain.pricing import TOKEN_CLASSES, Rates


def catalog_text(entries: Iterable[CatalogEntry], comment: str) -> str:
    """Prices hold from a day on: of `valid_from` only the date is written."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + "".join("\n".join(("", *_lines(listed, prices), "")) for listed, prices in entries)


def _lines(listed: ModelListed, prices: Sequence[ModelPriced]) -> Iterator[str]:
    yield "[[models]]"
    for name in ("model", "provider", "upstream_model", "owned_by", "kind"):
        yield f"{name} = {_string(getattr(listed, name))}"
    yield f"context_length = {listed.context_length}"
    yield f"max_output_tokens = {listed.max_output_tokens}"
    yield f"input_modalities = {_strings(listed.input_modalities)}"
    yield f"capabilities = {_strings(listed.capabilities)}"
    yield "prices = ["
    for price in prices:
        batch = f", batch = {{ {_rates(price.batch, listed.kind)} }}" if price.batch is not None else ""
        yield f'  {{ valid_from = "{price.valid_from:%Y-%m-%d}", {_rates(price.rates, listed.kind)}{batch} }},'
    yield "]"


def _rates(rates: Rates, kind: Kind) -> str:
    told = f"usd_per_million = {_table(rates, kind)}"
    if not rates.above:
        return told
    tiers = (
        f"{{ prompt_tokens = {tier.above_prompt_tokens}, usd_per_million = {_table(tier.rates, kind)} }}"
        for tier in rates.above
    )
    return f"{told}, above = [{', '.join(tiers)}]"


def _table(rates: Rates, kind: Kind) -> str:
    """What embeds has no output to be priced."""
    told = {name: getattr(rates, name) for name in TOKEN_CLASSES if getattr(rates, name) is not None}
    if kind == "embedding":
        told.pop("output")
    return "{ " + ", ".join(f'{name} = "{usd(nanos)}"' for name, nanos in told.items()) + " }"


def _strings(values: Sequence[str]) -> str:
    return f"[{', '.join(map(_string, values))}]"


def _string(value: str) -> str:
    """JSON's escapes are all TOML's too."""
    return json.dumps(value, ensure_ascii=False)
