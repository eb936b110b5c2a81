"""What a catalogue file asks for, as a command."""

from collections.abc import Iterable
from pathlib import Path

from adapters.catalog.declared_provider import BUILT_IN, DeclaredProvider
from adapters.catalog.file import read_declaration, read_providers, read_whole_catalog
from commands.apply_catalog import FILE, ApplyCatalog
from commands.store import Cause


def apply_file(path: Path | None, cause: Cause, *, also: Path | None = None, if_changed: bool = False) -> ApplyCatalog:
    """What ships, and on top of it the user's own. Providers that the file `also` declares may be used too. Raises
    InvalidInput that names file, place and remedy."""
    return ApplyCatalog(
        cause=cause,
        source=FILE,
        declaration=read_declaration(path, cause.at),
        providers=known_providers((*read_providers(path), *read_providers(also))),
        entries=read_whole_catalog(path, cause.at),
        if_changed=if_changed,
    )


def known_providers(declared: Iterable[DeclaredProvider]) -> frozenset[str]:
    return BUILT_IN | {provider.name for provider in declared}
