"""The catalogue from a TOML file, the one that ships or the user's own (`AGG_CATALOG`): models and their prices,
providers, deployments, routes and limits."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec

from adapters.catalog.declared_provider import DeclaredProvider, checked
from adapters.catalog.declared_routing import DeploymentEntry, LimitsEntry, RouteEntry, declaration_of
from domain.catalog import Capability, Kind, ModelListed, ModelPriced, name_price
from domain.declaration import Declaration
from domain.errors import InvalidInput
from domain.money import nanos_from_usd
from domain.pricing import TOKEN_CLASSES, Rates, Tier

CatalogEntry: TypeAlias = tuple[ModelListed, tuple[ModelPriced, ...]]
"""A model as it is listed, and all its prices by the time from which they hold."""
Shape = TypeVar("Shape")

SHIPPED = "models.toml"

_PLACE = re.compile(r" - at `(?:key in )?\$\.(?P<section>\w+)\[(?P<index>\d+)\]\.?(?P<rest>.*)`$")


class _Tier(msgspec.Struct, forbid_unknown_fields=True):
    prompt_tokens: int
    usd_per_million: dict[str, str]


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    usd_per_million: dict[str, str]
    above: tuple[_Tier, ...] = ()


class _Price(msgspec.Struct, forbid_unknown_fields=True):
    valid_from: date
    usd_per_million: dict[str, str]
    above: tuple[_Tier, ...] = ()
    batch: _Batch | None = None


class ModelEntry(msgspec.Struct, forbid_unknown_fields=True):
    """Several dated `prices`, or the only one as `valid_from` and `usd_per_million`."""

    model: str
    provider: str
    upstream_model: str
    owned_by: str
    context_length: int
    max_output_tokens: int
    input_modalities: tuple[str, ...] = ("text",)
    kind: Kind = "chat"
    capabilities: tuple[Capability, ...] = ()
    prices: tuple[_Price, ...] = ()
    valid_from: date | None = None
    usd_per_million: dict[str, str] | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    models: list[ModelEntry] = []
    providers: list[DeclaredProvider] = []
    deployments: list[DeploymentEntry] = []
    routes: list[RouteEntry] = []
    limits: list[LimitsEntry] = []


def read_catalog(path: Path | None, at: datetime) -> list[CatalogEntry]:
    """What the file says, or without one what ships, as facts proposed at `at`.

    A model that stands in it several times has the prices of all places and is listed as in the last.
    Raises InvalidInput that names file, place and remedy.
    """
    name, text = _text_of(path)
    try:
        return catalog_entries(parse_toml(text, _File).models, at)
    except ValueError as error:
        raise _no_catalog(name, error) from error


def read_whole_catalog(path: Path | None, at: datetime) -> list[CatalogEntry]:
    """What ships, with the models of the user's own file in place of those of the same name. Raises InvalidInput."""
    entries = {listed.model: (listed, prices) for listed, prices in read_catalog(None, at)}
    if path is not None:
        entries |= {listed.model: (listed, prices) for listed, prices in read_catalog(path, at)}
    return list(entries.values())


def read_providers(path: Path | None) -> tuple[DeclaredProvider, ...]:
    """The providers that speak a known protocol, as the user's own file declares them. Raises InvalidInput."""
    if path is None:
        return ()
    name, text = _text_of(path)
    try:
        return checked(parse_toml(text, _File).providers)
    except ValueError as error:
        raise _no_catalog(name, error) from error


def read_declaration(path: Path | None, at: datetime) -> Declaration:
    """The deployments, routes and limits of the user's own file. Raises InvalidInput for what cannot be read; whether
    they fit together is for `check_declaration` to say."""
    if path is None:
        return Declaration()
    name, text = _text_of(path)
    try:
        told = parse_toml(text, _File)
    except ValueError as error:
        raise _no_catalog(name, error) from error
    return declaration_of(told.deployments, told.routes, told.limits, at)


def parse_toml(text: str, shape: type[Shape]) -> Shape:
    """Raises ValueError, with the line where it is no TOML, and the number and name of the section where it says
    something else."""
    told = tomllib.loads(text)
    try:
        return msgspec.convert(told, shape)
    except msgspec.ValidationError as error:
        raise ValueError(_placed(str(error), told)) from error


def _placed(said: str, told: Mapping[str, Any]) -> str:
    """From `… - at `$.routes[2].cache`` to `routes[2] (fast).cache: …`."""
    place = _PLACE.search(said)
    if place is None:
        return said
    section, index, rest = place["section"], int(place["index"]), place["rest"]
    entry: Any = told[section][index]
    name = entry.get("name") or entry.get("model") or entry.get("subject") if isinstance(entry, dict) else None
    named = f" ({name})" if isinstance(name, str) else ""
    remedy = "; take it out, or correct its name" if "unknown field" in said else ""
    return f"{section}[{index}]{named}{'.' if rest else ''}{rest}: {said[: place.start()]}{remedy}"


def catalog_entries(models: Sequence[ModelEntry], at: datetime) -> list[CatalogEntry]:
    """Raises ValueError for a price that is none."""
    entries: dict[str, CatalogEntry] = {}
    for entry in models:
        _, told = entries.get(entry.model, (None, ()))
        prices = (*told, *(_priced(entry, price, at) for price in _prices_of(entry)))
        entries[entry.model] = _listed(entry, at), tuple(sorted(prices, key=lambda price: price.valid_from))
    return list(entries.values())


def _text_of(path: Path | None) -> tuple[str, str]:
    name = "the catalogue that ships" if path is None else str(path)
    try:
        source = resources.files("adapters.catalog") / SHIPPED if path is None else path
        return name, source.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"AGG_CATALOG: {name} cannot be read ({error.strerror}).", field="AGG_CATALOG") from error
    except UnicodeDecodeError as error:
        raise _no_catalog(name, error) from error


def _no_catalog(name: str, error: ValueError) -> InvalidInput:
    return InvalidInput(f"AGG_CATALOG: {name} is not a catalogue: {error}.", field="AGG_CATALOG")


def _prices_of(entry: ModelEntry) -> tuple[_Price, ...]:
    single = entry.valid_from is not None or entry.usd_per_million is not None
    if not single and entry.prices:
        return entry.prices
    if entry.valid_from is None or entry.usd_per_million is None or entry.prices:
        raise ValueError(f"{entry.model}: tell `prices`, or `valid_from` and `usd_per_million` if there is only one")
    return (_Price(valid_from=entry.valid_from, usd_per_million=entry.usd_per_million),)


def _listed(entry: ModelEntry, at: datetime) -> ModelListed:
    return ModelListed(
        model=entry.model,
        at=at,
        provider=entry.provider,
        upstream_model=entry.upstream_model,
        context_length=entry.context_length,
        max_output_tokens=entry.max_output_tokens,
        owned_by=entry.owned_by,
        input_modalities=entry.input_modalities,
        kind=entry.kind,
        capabilities=entry.capabilities,
    )


def _priced(entry: ModelEntry, price: _Price, at: datetime) -> ModelPriced:
    rates = _tiered(entry, price.usd_per_million, price.above)
    batch = _tiered(entry, price.batch.usd_per_million, price.batch.above) if price.batch else None
    return priced_from(entry.model, price.valid_from, at, rates, batch)


def priced_from(model: str, day: date, at: datetime, rates: Rates, batch: Rates | None) -> ModelPriced:
    """A price that holds from the first instant of the day, UTC."""
    valid_from = datetime.combine(day, time(), tzinfo=UTC)
    price_id = name_price(model, valid_from, at, rates, batch)
    return ModelPriced(model=model, at=at, price_id=price_id, valid_from=valid_from, rates=rates, batch=batch)


def _tiered(entry: ModelEntry, base: Mapping[str, str], above: Sequence[_Tier]) -> Rates:
    tiers = tuple(Tier(tier.prompt_tokens, _rates(entry, tier.usd_per_million)) for tier in above)
    return msgspec.structs.replace(_rates(entry, base), above=tiers)


def _rates(entry: ModelEntry, usd_per_million: Mapping[str, str]) -> Rates:
    unknown = sorted(set(usd_per_million) - set(TOKEN_CLASSES))
    if unknown:
        raise ValueError(f"{entry.model}: no token class {unknown[0]!r} (there are: {', '.join(TOKEN_CLASSES)})")
    for name in ("input",) if entry.kind == "embedding" else ("input", "output"):
        if name not in usd_per_million:
            raise ValueError(f"{entry.model}: tell what {name} costs, and be it '0'")
    try:
        return msgspec.convert({name: nanos_from_usd(Decimal(usd)) for name, usd in usd_per_million.items()}, Rates)
    except InvalidOperation:
        raise ValueError(f"{entry.model}: prices are decimal strings such as '2.50'") from None
