"""The catalogue as `genai-prices` and what is kept by hand make it. Deterministic, and without network or float."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TypeAlias, get_args

import msgspec
from genai_prices import __version__
from genai_prices.types import ClauseAnd, ClauseEquals, ClauseOr, MatchLogic, ModelInfo

from adapters.catalog.by_hand import ByHand, Facts, read_by_hand
from adapters.catalog.file import CatalogEntry, catalog_entries, priced_from
from adapters.catalog.genai import DatedRates, Unpriceable, dated_rates, genai_providers
from domain.catalog import Capability, Kind, ModelListed
from domain.errors import InvalidInput

VENDORS = ("openai", "anthropic", "google", "cohere")
OURS = "sim"
COMMENT = f"""\
Made by `agg catalog import-prices` from genai-prices {__version__} and by_hand.toml: do not edit it here.
Prices are in USD per million tokens and hold from `valid_from` on (UTC). With a prompt of more than `prompt_tokens`,
what was cached included, the whole request costs what `above` says. A changed price is a new event in the log; what
was charged before stays as it was."""

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}")

_Outcome: TypeAlias = "CatalogEntry | NotImported"


class NotImported(msgspec.Struct, frozen=True):
    provider: str
    model: str
    why: str


class Imported(msgspec.Struct, frozen=True):
    entries: list[CatalogEntry]
    left_out: list[NotImported]


def import_prices(providers: Sequence[str], at: datetime, by_hand: ByHand | None = None) -> Imported:
    """Without providers: the four vendors and our own models, which is what ships. By provider, then by name.

    Of a provider that nothing is kept of by hand, an answer is taken to be at most as long as the context. Raises
    InvalidInput for a provider that genai-prices does not know.
    """
    kept = by_hand or read_by_hand()
    known = genai_providers()
    unknown = sorted(set(providers) - known.keys())
    if unknown:
        raise InvalidInput(f"genai-prices has no provider {unknown[0]!r} (it has: {', '.join(sorted(known))}).")
    imported = Imported([], [])
    for provider in providers or (OURS, *VENDORS):
        own = [entry for entry in kept.models if entry.provider == provider]
        found = {listed.model: (listed, prices) for listed, prices in catalog_entries(own, at)}
        for outcome in _outcomes(provider, known[provider].models if provider in known else (), kept, at):
            if isinstance(outcome, NotImported):
                imported.left_out.append(outcome)
            else:
                found.setdefault(outcome[0].model, outcome)
        imported.entries.extend(found[model] for model in sorted(found))
    imported.left_out[:] = _still_left_out(imported)
    return imported


def _still_left_out(imported: Imported) -> list[NotImported]:
    taken = {(listed.provider, listed.model) for listed, _ in imported.entries}
    left = {(each.provider, each.model): each for each in imported.left_out}
    return [each for place, each in sorted(left.items()) if place not in taken]


def _outcomes(provider: str, models: Sequence[ModelInfo], kept: ByHand, at: datetime) -> Iterator[_Outcome]:
    for model in models:
        for name, upstream in _names(provider, model, kept).items():
            try:
                yield _entry(provider, model, name, upstream, kept, at)
            except Unpriceable as reason:
                yield NotImported(provider, name, str(reason))


def _names(provider: str, model: ModelInfo, kept: ByHand) -> dict[str, str]:
    """Catalogue names → the provider's own: its name, its dated snapshots, and those kept by hand."""
    snapshots = [name for name in _equals(model.match) if _SNAPSHOT.fullmatch(name.removeprefix(model.id))]
    return {name: name for name in (model.id, *snapshots)} | kept.names_of(provider, model.id)


def _equals(match: MatchLogic) -> Iterator[str]:
    if isinstance(match, ClauseEquals):
        yield match.equals
    elif isinstance(match, ClauseOr):
        for each in match.or_:
            yield from _equals(each)
    elif isinstance(match, ClauseAnd):
        for each in match.and_:
            yield from _equals(each)


def _entry(provider: str, model: ModelInfo, name: str, upstream: str, kept: ByHand, at: datetime) -> CatalogEntry:
    if reason := kept.why_left_out(provider, name):
        raise Unpriceable(reason)
    if model.deprecated:
        raise Unpriceable("it is deprecated")
    dated = dated_rates(model)
    facts = kept.facts_of(provider, name)
    kind: Kind = facts.kind or "chat"
    context_length = facts.context_length or model.context_window
    if context_length is None:
        raise Unpriceable("its context length is not known")
    max_output_tokens = 0 if kind == "embedding" else facts.max_output_tokens
    if max_output_tokens is None:
        if provider in VENDORS:
            raise Unpriceable("its largest answer is not known: add it to by_hand.toml")
        max_output_tokens = context_length
    listed = ModelListed(
        model=name,
        at=at,
        provider=provider,
        upstream_model=upstream,
        context_length=context_length,
        max_output_tokens=max_output_tokens,
        owned_by=provider,
        input_modalities=facts.input_modalities or ("text",),
        kind=kind,
        capabilities=_capabilities(kind, facts, dated[-1]),
    )
    return listed, tuple(priced_from(name, each.valid_from, at, each.rates, each.batch) for each in dated)


def _capabilities(kind: Kind, facts: Facts, newest: DatedRates) -> tuple[str, ...]:
    able: set[str] = set(facts.capabilities or ())
    if kind == "chat":
        senses = {"image": "vision", "audio": "audio_input"}
        able |= {senses[each] for each in facts.input_modalities or () if each in senses}
    if newest.rates.cached_input is not None:
        able.add("prompt_caching")
    if newest.batch is not None:
        able.add("batch")
    return tuple(name for name in get_args(Capability) if name in able)
