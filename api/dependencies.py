"""What routes ask for by name: who is calling, what caused the write, how far a read must have come."""

from typing import Any

from litestar import Request
from litestar.di import NamedDependency

from api.accounts import Accounts, header_bytes
from api.auth import Caller
from api.request_id import request_id_of
from commands.store import Cause
from domain.errors import InvalidInput
from domain.ids import CommandId

POSITION_HEADER = "x-agg-position"
MIN_POSITION_HEADER = "x-agg-min-position"
STREAM = "EVT"
MAX_POSITION = 2**63 - 1


async def provide_caller(request: Request[Any, Any, Any], accounts: NamedDependency[Accounts]) -> Caller:
    """Raises NotAuthenticated, Unavailable."""
    return await accounts.authenticator.admit(header_bytes(request.scope))


async def provide_min_position(request: Request[Any, Any, Any]) -> int:
    """From `?min_position=` or `x-agg-min-position`; 0 when the caller asks for none."""
    asked = request.query_params.get("min_position") or request.headers.get(MIN_POSITION_HEADER)
    return read_position(asked) if asked else 0


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


def read_position(text: str) -> int:
    """Of the form that `x-agg-position` has on these routes. Raises InvalidInput."""
    stream, _, number = text.partition(":")
    if stream != STREAM or not (number.isascii() and number.isdigit()) or int(number) > MAX_POSITION:
        raise InvalidInput(f"A position here looks like {STREAM}:123, as x-agg-position gave it.", field="min_position")
    return int(number)
