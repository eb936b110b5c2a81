"""What the inside asks of the world. Adapters supply these; nobody inside names an adapter."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

import msgspec

from domain.aggregate import Address
from domain.events import Envelope
from domain.request import RequestEvent
from domain.session import Session, SessionRef
from domain.upstream import ProviderCall, Reply, ReplyPiece


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
        """The stream sequence, once durable.

        An admission, or an answer from the cache, that cannot be taken is refused: Busy when the queue is full,
        Unavailable when its turn does not come in time (nothing was recorded in either case). OutcomeUnknown: it was
        sent and may have been taken. An attempt and the end of a request that was admitted are always taken, in the
        order in which they came, and recorded even if their caller is told OutcomeUnknown.
        """
        ...


class PreparedCall(Protocol):
    """One call that the provider can serve, not sent yet. Sent once, by either method; both raise the ProviderError
    family only."""

    @property
    def dropped(self) -> Sequence[str]:
        """Parameters that were left out because the client allowed it, by the client's names."""
        ...

    async def complete(self) -> Reply: ...

    def stream(self) -> AsyncIterator[ReplyPiece]:
        """Pieces as they come. Usage is on the piece with which it came; a later report replaces an earlier one. Ends
        normally only when the provider ended its answer; a cut raises ProviderBroken."""
        ...


class Provider(Protocol):
    name: str

    def can(self, capability: str) -> bool:
        """Whether it serves an endpoint, takes an option of `ChatAsk`, or a kind of content."""
        ...

    def prepare(self, call: ProviderCall) -> PreparedCall:
        """Raises InvalidInput, and UnsupportedParameter for what the provider could not honour: nothing is silently
        dropped."""
        ...

    async def count_tokens(self, call: ProviderCall) -> int:
        """Of the input, free of charge. Raises as `prepare` and `complete` do."""
        ...


class Vault(Protocol):
    """Personal data under one key per person. Erasing the key erases the data, wherever it was copied.

    A sealed value opens only for the owner and the field it was sealed for. Raises Unavailable.
    """

    async def seal(self, owner: str, field: str, plaintext: str) -> str: ...

    async def open(self, owner: str, field: str, sealed: str) -> str | None:
        """None once the owner's key is gone."""
        ...

    async def forget(self, owner: str) -> None:
        """Erase the owner's key. Other processes may still open what is sealed for a minute."""
        ...


class Passwords(Protocol):
    """Raises Busy when too many hashes are waiting."""

    async def hash(self, password: str) -> str: ...

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Takes the same time for an unknown user (`hashed` None)."""
        ...


class TokenPair(msgspec.Struct, frozen=True):
    """What a log-in hands out. Lifetimes are in seconds from now."""

    access_token: str
    expires_in_s: int
    refresh_token: str
    refresh_expires_in_s: int

    def __repr__(self) -> str:
        return "TokenPair(…)"


class SessionTokens(Protocol):
    """Makes and reads the tokens of sessions. The same session and generation have the same refresh token."""

    def new_salt(self) -> str: ...

    def issue(self, ref: SessionRef, session: Session, at: datetime) -> TokenPair: ...

    def read_refresh(self, token: str) -> SessionRef:
        """What the token claims; to be believed only once it is genuine. Raises InvalidToken for another format."""
        ...

    def is_genuine(self, token: str, session: Session) -> bool: ...


class NewKey(msgspec.Struct, frozen=True):
    """`secret` is shown once and kept nowhere; `prefix` and `last4` let its owner recognise it."""

    secret: str
    secret_hash: str
    prefix: str
    last4: str

    def __repr__(self) -> str:
        return f"NewKey({self.prefix}…{self.last4})"


class ApiKeys(Protocol):
    def make(self) -> NewKey: ...


class LogMessage(msgspec.Struct, frozen=True):
    """A message of a stream, whole and undecoded. `behind` is how many messages the stream held after it when sent."""

    stream: str
    position: int
    subject: str
    time: datetime
    raw: bytes
    behind: int = 0


class LogFeed(Protocol):
    """The messages of one stream in order. Raises FeedBroken when it cannot go on; open another one then."""

    @property
    def waiting(self) -> bool:
        """Whether there was more than the last `take` could hold."""
        ...

    async def take(self, timeout_s: float) -> list[LogMessage]:
        """All that wait, up to what one transaction should hold; nothing after the timeout."""
        ...


class FeedBroken(Exception):
    """The log stopped sending, or sent something out of order."""


class LogEnds(Protocol):
    """How far streams go. Raises Unavailable."""

    async def last_position(self, stream: str) -> int: ...

    async def time_at(self, stream: str, position: int) -> datetime | None:
        """When the message was stored; None when there is none."""
        ...


class LogReader(LogEnds, Protocol):
    """Streams from any position on, and where they end. Raises Unavailable."""

    def open(self, stream: str, after: int) -> AbstractAsyncContextManager[LogFeed]: ...


Row = Mapping[str, Any]


class Connection(Protocol):
    """One transaction. `RowsRefused` when the database refuses the data itself, Unavailable when it cannot answer."""

    async def execute(self, query: str, *args: object) -> int:
        """How many rows it touched."""
        ...

    async def fetch(self, query: str, *args: object) -> list[Row]: ...

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None: ...


class Database(Protocol):
    """The read models. Raises Unavailable."""

    def transaction(self) -> AbstractAsyncContextManager[Connection]: ...

    async def fetch(self, query: str, *args: object) -> list[Row]: ...


class RowsRefused(Exception):
    """The database will never take these rows: a constraint or a type says no."""
