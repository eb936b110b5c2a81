"""What a read model is to the machinery: the facts it reads, how they become rows, how rows are written."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args

import msgspec

from domain.events import Envelope, tag_of
from domain.ids import BUCKETS
from domain.ports import Connection, LogMessage

Rows = TypeVar("Rows")

Stream: TypeAlias = Literal["EVT", "REQ"]
STREAMS: tuple[Stream, ...] = get_args(Stream)


class Event(msgspec.Struct, frozen=True, gc=False):
    """A fact where it stands: `index` counts within its message."""

    message: LogMessage
    index: int
    envelope: Envelope
    fact: Any

    @property
    def position(self) -> int:
        return self.message.position


class Projection(msgspec.Struct, Generic[Rows], frozen=True, kw_only=True):
    """`fold` is pure: events in log order to rows. `write` puts rows into `tables`; folding in parts and writing each
    part must leave the same tables as folding at once.

    `facts` are the types that `fold` gets, as Events; None: it gets whole messages as LogMessages, undecoded.
    """

    name: str
    streams: tuple[Stream, ...]
    facts: tuple[type[Any], ...] | None
    fold: Callable[[Sequence[Any]], Rows]
    write: Callable[[Connection, Rows], Awaitable[None]]
    tables: tuple[str, ...]

    @property
    def tags(self) -> frozenset[str]:
        return frozenset(tag_of(fact) for fact in self.facts or ())


class Claim(msgspec.Struct, frozen=True):
    """A row of `checkpoints` that a worker owns: one stream of one projection, for the accounts of some buckets."""

    projection: str
    stream: Stream
    bucket_from: int
    bucket_to: int
    owner: str

    @property
    def is_whole(self) -> bool:
        return self.bucket_from == 0 and self.bucket_to == BUCKETS

    def __str__(self) -> str:
        return f"{self.projection}/{self.stream}[{self.bucket_from}:{self.bucket_to}]"
