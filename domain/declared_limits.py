"""How much a key, an account, a model or a plan may use, as declared last. One aggregate per scope and subject."""

from datetime import datetime
from typing import TypeAlias

import msgspec

from domain.aggregate import Address, Aggregate
from domain.catalog import catalog_address
from domain.limits import Scope

EACH = "*"
"""The subject that stands for each one of its scope that has no limits of its own."""

LIMITED = (
    *("requests_per_minute", "requests_per_day", "tokens_per_minute", "tokens_per_day", "concurrent"),
    *("spend_per_day_nanos", "spend_per_month_nanos"),
)


class LimitsFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """`subject` is an id of a key or account, a name of a model, route or plan, or `EACH`."""

    scope: Scope
    subject: str
    at: datetime

    @property
    def name(self) -> str:
        return f"{self.scope}:{self.subject}"


class LimitsSet(LimitsFact, frozen=True, kw_only=True, omit_defaults=True, tag="catalog.limits_set.v1"):
    """None: not limited. Days and months are UTC's. Setting again replaces all that was said before."""

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    concurrent: int | None = None
    spend_per_day_nanos: int | None = None
    spend_per_month_nanos: int | None = None


class LimitsRemoved(LimitsFact, frozen=True, kw_only=True, tag="catalog.limits_removed.v1"):
    pass


LimitsEvent: TypeAlias = LimitsSet | LimitsRemoved


class DeclaredLimits(msgspec.Struct, frozen=True):
    """`told` is None before they were ever set, and once they are removed."""

    told: LimitsSet | None = None


def set_limits(state: DeclaredLimits, proposed: LimitsSet) -> list[LimitsEvent]:
    """What may be set is decided over the whole catalogue (`check_declaration`)."""
    return [] if state.told is not None and amounts(state.told) == amounts(proposed) else [proposed]


def remove_limits(state: DeclaredLimits, proposed: LimitsRemoved) -> list[LimitsEvent]:
    return [] if state.told is None else [proposed]


def amounts(limits: LimitsSet) -> tuple[int | None, ...]:
    """As `LIMITED` names them."""
    return tuple(getattr(limits, name) for name in LIMITED)


def evolve(state: DeclaredLimits, event: LimitsEvent) -> DeclaredLimits:
    return DeclaredLimits(event if isinstance(event, LimitsSet) else None)


LIMITS = Aggregate("limits", DeclaredLimits, evolve)


def limits_address(name: str) -> Address:
    """`name` is that of the fact: scope and subject."""
    return catalog_address(LIMITS, name)
