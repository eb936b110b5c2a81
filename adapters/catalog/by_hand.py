"""What is known of models beside their prices: kept by hand in `by_hand.toml`."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib import resources

import msgspec

from adapters.catalog.file import ModelEntry, parse_toml
from domain.catalog import Capability, Kind


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """None is not known."""

    provider: str = ""
    models: tuple[str, ...] = ()
    context_length: int | None = None
    max_output_tokens: int | None = None
    input_modalities: tuple[str, ...] | None = None
    kind: Kind | None = None
    capabilities: tuple[Capability, ...] | None = None


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`models`: a catalogue name → the provider's own."""

    provider: str
    priced_as: str
    models: Mapping[str, str]


class LeftOut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    provider: str
    models: tuple[str, ...]
    why: str


class ByHand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    facts: tuple[Facts, ...] = ()
    names: tuple[Names, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    models: tuple[ModelEntry, ...] = ()

    def facts_of(self, provider: str, model: str) -> Facts:
        """All that is known of it: what is told later goes before what is told earlier."""
        known = Facts()
        for facts in self.facts:
            if facts.provider == provider and _is_among(model, facts.models):
                known = msgspec.structs.replace(known, **dict(_told(facts)))
        return known

    def names_of(self, provider: str, priced_as: str) -> dict[str, str]:
        names: dict[str, str] = {}
        for each in self.names:
            if (each.provider, each.priced_as) == (provider, priced_as):
                names |= each.models
        return names

    def why_left_out(self, provider: str, model: str) -> str | None:
        reasons = (out.why for out in self.left_out if out.provider == provider and _is_among(model, out.models))
        return next(reasons, None)


def read_by_hand() -> ByHand:
    text = (resources.files("adapters.catalog") / "by_hand.toml").read_text(encoding="utf-8")
    return parse_toml(text, ByHand)


def _is_among(model: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def _told(facts: Facts) -> Iterator[tuple[str, object]]:
    for name in ("context_length", "max_output_tokens", "input_modalities", "kind", "capabilities"):
        if getattr(facts, name) is not None:
            yield name, getattr(facts, name)
