"""Models and prices from a TOML file: the one that ships, or the user's own (`AGG_CATALOG`)."""

import hashlib
import tomllib
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from importlib import resources
from pathlib import Path

import msgspec

from domain.catalog import ModelListed, ModelPriced
from domain.errors import InvalidInput
from domain.money import nanos_from_usd
from domain.pricing import TOKEN_CLASSES, Rates


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    provider: str
    upstream_model: str
    owned_by: str
    context_length: int
    max_output_tokens: int
    valid_from: date
    usd_per_million: dict[str, str]
    input_modalities: tuple[str, ...] = ("text",)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    models: list[_Entry]


def read_catalog(path: Path | None, at: datetime) -> list[tuple[ModelListed, ModelPriced]]:
    """What the file says, as facts proposed at `at`. Raises InvalidInput that names file, place and remedy."""
    name = "the catalogue that ships" if path is None else str(path)
    try:
        source = resources.files("adapters.catalog") / "models.toml" if path is None else path
        text = source.read_text()
        entries = msgspec.convert(tomllib.loads(text), _File).models
        return [_facts(entry, at) for entry in entries]
    except OSError as error:
        raise InvalidInput(f"AGG_CATALOG: {name} cannot be read ({error.strerror}).", field="AGG_CATALOG") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, ValueError) as error:
        raise InvalidInput(f"AGG_CATALOG: {name} is not a catalogue: {error}.", field="AGG_CATALOG") from error


def _facts(entry: _Entry, at: datetime) -> tuple[ModelListed, ModelPriced]:
    rates = _rates(entry)
    listed = ModelListed(
        model=entry.model,
        at=at,
        provider=entry.provider,
        upstream_model=entry.upstream_model,
        context_length=entry.context_length,
        max_output_tokens=entry.max_output_tokens,
        owned_by=entry.owned_by,
        input_modalities=entry.input_modalities,
    )
    valid_from = datetime.combine(entry.valid_from, time(), tzinfo=UTC)
    digest = hashlib.blake2b(msgspec.json.encode(rates), digest_size=4).hexdigest()
    price_id = f"{entry.model}@{entry.valid_from.isoformat()}#{digest}"
    priced = ModelPriced(model=entry.model, at=at, price_id=price_id, valid_from=valid_from, rates=rates)
    return listed, priced


def _rates(entry: _Entry) -> Rates:
    unknown: Sequence[str] = sorted(set(entry.usd_per_million) - set(TOKEN_CLASSES))
    if unknown:
        raise ValueError(f"{entry.model}: no token class {unknown[0]!r} (there are: {', '.join(TOKEN_CLASSES)})")
    try:
        return Rates(**{name: nanos_from_usd(Decimal(usd)) for name, usd in entry.usd_per_million.items()})
    except InvalidOperation:
        raise ValueError(f"{entry.model}: prices are decimal strings such as '2.50'") from None
