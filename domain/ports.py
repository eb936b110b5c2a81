"""What the inside asks of the world. Adapters supply these; nobody inside names an adapter."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from domain.aggregate import Address
from domain.chat import ChatCall, ChatReply, ReplyPiece
from domain.events import Envelope
from domain.request import RequestEvent


class Recorded(msgspec.Struct, frozen=True):
    """An event as the log holds it: `position` is its stream sequence, `raw` the bytes as stored."""

    envelope: Envelope
    position: int
    raw: bytes


class Append(msgspec.Struct, frozen=True):
    """Events (ids and encoded envelopes, in order) for one aggregate whose last event was at `expected` (0: none)."""

    address: Address
    expected: int
    events: Sequence[tuple[str, bytes]]


class EventLog(Protocol):
    """The facts of aggregates. Reads see every acknowledged append."""

    async def last(self, address: Address) -> Recorded | None: ...

    async def history(self, address: Address, after: int = 0) -> list[Recorded]: ...

    async def append(self, appends: Sequence[Append]) -> list[int]:
        """All or nothing; the position of each append's last event.

        The same ids again succeed without writing twice. Raises ConcurrentWrite when a guard does not hold, and
        OutcomeUnknown when the log stayed silent: the events may or may not be there.
        """
        ...


class RequestLog(Protocol):
    """The life of AI requests."""

    async def append(self, event: RequestEvent) -> int:
        """The stream sequence, once durable. Raises Unavailable when the log cannot take it in time or its queue
        is full; OutcomeUnknown when it may have been taken."""
        ...


class ChatProvider(Protocol):
    """Raises the ProviderError family only."""

    name: str

    async def complete(self, call: ChatCall) -> ChatReply: ...

    def stream(self, call: ChatCall) -> AsyncIterator[ReplyPiece]:
        """Pieces as they come; the last one has `usage` if the provider reported any. Ends normally only when the
        provider ended its answer; a cut raises ProviderBroken."""
        ...


class Vault(Protocol):
    """Personal data under one key per person. Erasing the key erases the data, wherever it was copied."""

    async def seal(self, owner: str, plaintext: str) -> str: ...

    async def open(self, owner: str, sealed: str) -> str | None:
        """None once the owner's key is gone."""
        ...


class Passwords(Protocol):
    """Raises Busy when too many hashes are waiting."""

    async def hash(self, password: str) -> str: ...

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Takes the same time for an unknown user (`hashed` None)."""
        ...
