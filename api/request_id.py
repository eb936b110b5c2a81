"""Each request's id: the client's own if it is a sane one, else made here."""

import os
import re
import time
from collections.abc import MutableMapping
from typing import Any

from domain.ids import uuid7

HEADER = b"x-request-id"
GIVEN = "agg.request_id"
"""Where a scope holds the id that an AI route is to use, if something before it needed one."""
ENTROPY_BYTES = 10
IDS_A_DRAW = 256
_drawn: list[bytes] = []
"""Random bytes of ids to come, each given out once."""
os.register_at_fork(after_in_child=_drawn.clear)
_SANE = re.compile(rb"[A-Za-z0-9_.:/+=-]{8,128}")


def new_id() -> str:
    """A time-ordered UUID in hex, as all our ids are."""
    try:
        entropy = _drawn.pop()
    except IndexError:
        entropy = _draw()
    return uuid7(time.time_ns() // 1_000_000, entropy)


def _draw() -> bytes:
    """For one id, and for the next ones as well: asking the system costs more than what it gives."""
    drawn = os.urandom(ENTROPY_BYTES * IDS_A_DRAW)
    _drawn.extend(drawn[at : at + ENTROPY_BYTES] for at in range(ENTROPY_BYTES, len(drawn), ENTROPY_BYTES))
    return drawn[:ENTROPY_BYTES]


def request_id_of(scope: MutableMapping[str, Any]) -> str:
    """The same for the whole life of the request."""
    state: dict[str, Any] = scope.setdefault("state", {})
    known = state.get("request_id")
    if known is None:
        known = state["request_id"] = _sent_in(scope) or new_id()
    return known


def _sent_in(scope: MutableMapping[str, Any]) -> str | None:
    sent = next((value for name, value in scope.get("headers", ()) if name == HEADER), b"")
    return sent.decode() if _SANE.fullmatch(sent) else None


async def add_request_id(message: Any, scope: Any) -> None:
    """Litestar `before_send` hook."""
    if message["type"] == "http.response.start":
        message.setdefault("headers", []).append((HEADER, request_id_of(scope).encode()))
