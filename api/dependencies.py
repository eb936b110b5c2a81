"""What routes ask for by name: who is calling, what caused the write, how far a read must have come."""

from typing import Any

from litestar import Request
from litestar.di import NamedDependency

from api.accounts import Accounts, header_bytes
from api.auth import Caller
from api.request_id import request_id_of
from commands.store import Cause
from domain.ids import CommandId
from projections.positions import Positions, parse_positions

POSITION_HEADER = "x-agg-position"
MIN_POSITION_HEADER = "x-agg-min-position"
STREAM = "EVT"


async def provide_caller(request: Request[Any, Any, Any], accounts: NamedDependency[Accounts]) -> Caller:
    """Raises NotAuthenticated, Unavailable."""
    return await accounts.authenticator.admit(header_bytes(request.scope))


def provide_wanted(request: Request[Any, Any, Any]) -> Positions:
    """From `?min_position=` or `x-agg-min-position`; nothing when the caller asks for none. Raises InvalidInput."""
    asked = request.query_params.get("min_position") or request.headers.get(MIN_POSITION_HEADER)
    return parse_positions(asked) if asked else {}


def cause_of(request: Request[Any, Any, Any], accounts: Accounts, actor: str) -> Cause:
    """Every request is a command of its own."""
    return Cause(
        command_id=CommandId(accounts.new_id()),
        at=accounts.now(),
        actor=actor,
        correlation_id=request_id_of(request.scope),  # type: ignore[arg-type]  # a scope is a dict
    )


def position_header(position: int) -> dict[str, str]:
    return {POSITION_HEADER: f"{STREAM}:{position}"}
