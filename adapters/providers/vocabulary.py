"""What a vendor's vocabulary is: how its API puts the neutral shape, there and back. No I/O."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from domain.answer import AnswerEvent
from domain.chat import ChatAsk, Expressible
from domain.embedding import EmbeddingAsk, Embeddings

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding bytes from outside may raise."""


class ErrorInAnswer(Exception):
    """An answer with a good status that is an error, or is not readable. `str()` is the provider's own message."""

    def __init__(self, message: str, *, error_type: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.code = code


class ChatVocabulary(Protocol):
    """Stateless; one for the process.

    `supports` names what it can express: options of `ChatAsk`, extras of its own, and kinds of content
    (`image document audio tools thinking`). Without `has_end_mark` only the end of the stream tells that nothing more
    follows.
    """

    supports: frozenset[str]
    has_end_mark: bool

    def path(self, ask: ChatAsk) -> str:
        """Below the base URL, from `/` on."""
        ...

    def request_body(self, ask: ChatAsk, expressible: Expressible) -> bytes:
        """Usage is always asked for. Raises InvalidInput, UnsupportedParameter (through `expressible`)."""
        ...

    def read(self, body: bytes) -> list[AnswerEvent]:
        """A whole answer. Raises ErrorInAnswer, whatever the bytes are."""
        ...

    def reader(self) -> "StreamReader": ...


class StreamReader(Protocol):
    """Of one streamed answer."""

    @property
    def ended(self) -> bool:
        """Whether the provider said that its answer is complete. A stream that stops before was cut."""
        ...

    def read(self, data: bytes) -> Sequence[AnswerEvent]:
        """The data of one server-sent event, `[DONE]` too. Raises ErrorInAnswer, whatever the bytes are."""
        ...


class EmbeddingVocabulary(Protocol):
    supports: frozenset[str]

    def requests(self, ask: EmbeddingAsk, expressible: Expressible) -> list[tuple[str, bytes]]:
        """Path and body of each call that is needed, in order: providers limit the inputs of one."""
        ...

    def read(self, ask: EmbeddingAsk, bodies: Sequence[bytes]) -> Embeddings:
        """Raises ErrorInAnswer, whatever the bytes are, also when a vector is missing."""
        ...


class VendorError(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer with an error status says. `retry_after_s` where its body names one."""

    message: str
    error_type: str | None = None
    code: str | None = None
    retry_after_s: float | None = None
