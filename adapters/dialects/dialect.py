"""What a dialect is: it checks a client's request, reads it into the neutral shape, and writes the neutral answer.

A request whose provider speaks the client's own format is only checked, and passes through as it is.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from domain.answer import Answer, AnswerEvent
from domain.catalog import Model
from domain.chat import ChatAsk
from domain.embedding import EmbeddingAsk, Embeddings
from domain.ids import RequestId
from domain.upstream import Endpoint, ProviderCall

BYTES_PER_TOKEN = 4
"""For the estimate; the bound takes every byte for a token, which no tokenizer exceeds."""
IMAGE_TOKENS_BOUND = 50_000
"""No provider counts one image as more."""
ENTRY_TOKENS = 16
"""What a provider adds for each message, tool or input."""


class ClientRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request, with what admission must know of it.

    `members`: its top-level members, still encoded, without `drop_params`. `output_limit`: tokens of one choice, None
    when not said. `text_bytes`: UTF-8 bytes of the input's text. `entries`: messages, inputs and tools. `is_bounded`:
    false when it holds what cannot be bounded by its size (files and audio by reference).
    """

    endpoint: Endpoint
    model: str
    members: dict[str, msgspec.Raw]
    body_bytes: int
    text_bytes: int
    stream: bool = False
    include_usage: bool = False
    drop_params: bool = False
    choices: int = 1
    output_limit: int | None = None
    entries: int = 1
    images: int = 0
    is_bounded: bool = True

    def max_output_tokens(self, model: Model) -> int:
        """Of one choice; embeddings have none."""
        if self.endpoint == "embeddings":
            return 0
        limit, most = self.output_limit, model.max_output_tokens
        return limit if limit and limit < most else most

    def input_bound(self, model: Model) -> int:
        """More tokens than the input can have; at most what the model can hold, for embeddings in each entry."""
        most = model.context_length * self.entries if self.endpoint == "embeddings" else model.context_length
        bound = self.body_bytes + ENTRY_TOKENS * self.entries + IMAGE_TOKENS_BOUND * self.images
        return bound if self.is_bounded and bound < most else most

    def input_estimate(self) -> int:
        """What the input probably has, for the case that nobody reports it."""
        return max(1, -(-self.text_bytes // BYTES_PER_TOKEN))

    def call(self, request_id: RequestId, model: Model, upstream_model: str) -> ProviderCall:
        """The same, put to `model` under its provider's name for it."""
        return ProviderCall(
            request_id=request_id,
            endpoint=self.endpoint,
            upstream_model=upstream_model,
            members=self.members,
            stream=self.stream,
            include_usage=self.include_usage,
            drop_params=self.drop_params,
            input_estimate=self.input_estimate(),
            max_output_tokens=self.max_output_tokens(model),
        )


class ChatDialect(Protocol):
    """Stateless; one for the process."""

    endpoint: Endpoint

    def check(self, body: bytes) -> ClientRequest:
        """Raises InvalidInput that names the place and what fits there; UnsupportedParameter for what is not priced."""
        ...

    def read(self, call: ProviderCall) -> ChatAsk:
        """For a provider of another format. Raises InvalidInput and UnsupportedParameter."""
        ...

    def whole(self, answer: Answer, call: ProviderCall) -> bytes: ...

    def writer(self, call: ProviderCall) -> "AnswerWriter": ...


class EmbeddingDialect(Protocol):
    def check(self, body: bytes) -> ClientRequest:
        """Raises InvalidInput that names the place and what fits there."""
        ...

    def read(self, call: ProviderCall) -> EmbeddingAsk:
        """Raises UnsupportedParameter, for token arrays."""
        ...

    def whole(self, embeddings: Embeddings, call: ProviderCall) -> bytes: ...


class AnswerWriter(Protocol):
    """Of one streamed answer."""

    def write(self, events: Sequence[AnswerEvent]) -> bytes:
        """Whole server-sent events; empty when there is nothing to say yet."""
        ...

    def close(self) -> tuple[bytes, bytes]:
        """After the last event: what may go out at once, and what must wait until the charge is durable."""
        ...


class Dialects(msgspec.Struct, frozen=True):
    chat: Mapping[Endpoint, ChatDialect]
    embeddings: EmbeddingDialect
