"""All read models: what a worker keeps up to date."""

from typing import Any

from projections.balances import BALANCES
from projections.catalogue import CATALOGUE
from projections.directory import DIRECTORY
from projections.event_archive import EVENT_ARCHIVE
from projections.ledger_entries import LEDGER_ENTRIES
from projections.logins import LOGINS
from projections.projection import Projection
from projections.requests import REQUESTS
from projections.route_spend import ROUTE_SPEND
from projections.usage import USAGE

READ_MODELS: tuple[Projection[Any], ...] = (
    BALANCES,
    CATALOGUE,
    DIRECTORY,
    EVENT_ARCHIVE,
    LEDGER_ENTRIES,
    LOGINS,
    REQUESTS,
    ROUTE_SPEND,
    USAGE,
)
