"""Who declared which deployments, routes and limits: the table of contents of the declared catalogue. One aggregate.

Every change of any of them is recorded together with a fact of this one. So whoever decides on all that is declared
is told when it is not what they saw, and nobody need search the log for what there is.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from domain.aggregate import Aggregate
from domain.ids import SYSTEM_ACCOUNT

Names = tuple[str, ...]


class CatalogApplied(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="catalog.applied.v1"
):
    """All that `source` declares from now on; `digest` is of what it said. What another source declared under one of
    these names is now this one's; with `whole`, nothing that others declared is left."""

    source: str
    at: datetime
    digest: str = ""
    deployments: Names = ()
    routes: Names = ()
    limits: Names = ()
    whole: bool = False


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    digest: str = ""
    deployments: Names = ()
    routes: Names = ()
    limits: Names = ()


class CatalogSources(msgspec.Struct, frozen=True):
    sources: Mapping[str, Source] = {}

    def of(self, source: str) -> Source:
        return self.sources.get(source, Source())

    @property
    def everything(self) -> Source:
        """All names, whoever declared them, in order."""
        sources = self.sources.values()
        return Source(
            deployments=tuple(sorted(name for source in sources for name in source.deployments)),
            routes=tuple(sorted(name for source in sources for name in source.routes)),
            limits=tuple(sorted(name for source in sources for name in source.limits)),
        )


def evolve(state: CatalogSources, event: CatalogApplied) -> CatalogSources:
    sources = {name: _without(source, event) for name, source in state.sources.items() if name != event.source}
    sources[event.source] = Source(event.digest, event.deployments, event.routes, event.limits)
    return CatalogSources({name: source for name, source in sources.items() if source != Source()})


def _without(source: Source, event: CatalogApplied) -> Source:
    """Its digest stays: it is of what was said."""
    if event.whole:
        return Source(source.digest)
    return Source(
        source.digest,
        _minus(source.deployments, event.deployments),
        _minus(source.routes, event.routes),
        _minus(source.limits, event.limits),
    )


def _minus(names: Names, taken: Names) -> Names:
    gone = frozenset(taken)
    return tuple(name for name in names if name not in gone)


CATALOG_SOURCES = Aggregate("catalog", CatalogSources, evolve)
CATALOG_ADDRESS = CATALOG_SOURCES.at("sources", owner=SYSTEM_ACCOUNT)
