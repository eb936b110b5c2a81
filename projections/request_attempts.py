"""The calls of a request that did not answer it, as readers see them."""

from datetime import datetime

import msgspec

from domain.ids import AccountId, RequestId
from domain.ports import Database
from domain.pricing import Tokens


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """A call that failed, or was given up for another. `cost_nanos` is what its provider bills for `tokens`, by its own
    report or an estimate (`evidence`): nobody is charged it."""

    number: int
    at: datetime
    position: int
    deployment: str
    model: str
    provider: str
    upstream_model: str
    error_kind: str
    error_message: str
    upstream_status: int | None
    tokens: Tokens
    cost_nanos: int
    duration_ms: int
    evidence: str


async def list_attempts(database: Database, account_id: AccountId, request_id: RequestId) -> list[AttemptRow]:
    """In turn; bounded by how often a request is tried."""
    rows = await database.fetch(
        "SELECT * FROM request_attempts WHERE request_id = $1 AND account_id = $2 ORDER BY number",
        *(request_id, account_id),
    )
    return [msgspec.convert(dict(row), AttemptRow) for row in rows]


async def locate_attempts(database: Database, request_id: RequestId) -> list[int]:
    """Where they stand in `REQ`, as `projections.requests.locate_request` says of the others."""
    rows = await database.fetch(
        "SELECT DISTINCT position FROM request_attempts WHERE request_id = $1 ORDER BY position", request_id
    )
    return [row["position"] for row in rows]
