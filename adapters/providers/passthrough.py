"""What a passthrough is: a provider that speaks the client's own format, whose answer goes out as it came. No I/O."""

from typing import Protocol

from domain.upstream import ProviderCall, Reply, ReplyPiece


class WholePassthrough(Protocol):
    """Of one endpoint. Stateless; one for the process.

    `path` is where its requests go, below the base URL, from `/` on.
    """

    @property
    def path(self) -> str: ...

    def request_body(self, call: ProviderCall) -> bytes:
        """What the client sent, for the upstream model, so that the answer reports its usage. Nulls stay out."""
        ...

    def reply(self, body: bytes, call: ProviderCall) -> Reply:
        """A whole answer, as it is and measured. Raises ErrorInAnswer, whatever the bytes are."""
        ...


class Passthrough(WholePassthrough, Protocol):
    """Of an endpoint that also streams."""

    def reader(self, call: ProviderCall) -> "PassthroughReader": ...


class PassthroughReader(Protocol):
    """Of one streamed answer."""

    @property
    def ended(self) -> bool:
        """Whether the provider said that its answer is complete. A stream that stops before was cut."""
        ...

    def read(self, data: bytes) -> ReplyPiece:
        """The data of one server-sent event, the end mark too. Raises ErrorInAnswer, whatever the bytes are."""
        ...
