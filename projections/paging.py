"""Lists newest first, a page at a time. A cursor is where the last page ended, opaque to the caller."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from domain.errors import InvalidInput

Item = TypeVar("Item")

LARGEST_PAGE = 200
LAST_POSITION = 2**63 - 1


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """`next_cursor` is None on the last page."""

    rows: list[Item]
    next_cursor: str | None


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """After which row a page begins: its position in the log and, where several share one, its id."""

    position: int = LAST_POSITION
    ident: str = ""


def after(cursor: str | None) -> Mark:
    """Where the page starts; before everything without a cursor. Raises InvalidInput."""
    if cursor is None:
        return Mark()
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=Mark)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        raise InvalidInput("This cursor is not one of ours; leave it out to start again.", field="cursor") from None


def page(rows: Sequence[Item], limit: int, mark: Callable[[Item], Mark]) -> Page[Item]:
    """Of `limit + 1` rows asked for."""
    shown = list(rows[:limit])
    if len(rows) <= limit:
        return Page(shown, None)
    encoded = base64.urlsafe_b64encode(msgspec.json.encode(mark(shown[-1])))
    return Page(shown, encoded.decode().rstrip("="))


def checked_limit(limit: int) -> int:
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidInput(f"A page has 1 to {LARGEST_PAGE} rows.", field="limit")
    return limit
