"""One call of a provider as the gateway accounts it: what is asked, and what comes back as bytes for the client."""

from typing import Literal

import msgspec

from domain.ids import RequestId
from domain.pricing import Tokens

Endpoint = Literal["chat.completions", "completions", "embeddings", "responses", "messages"]
"""What a client asked at: the vocabulary of its request, of its answer and of its errors."""


class ProviderCall(msgspec.Struct, frozen=True, kw_only=True):
    """`members` are the request's top-level members as the client sent them, each still encoded, validated before;
    without `drop_params`. `include_usage` is whether the client wants the usage chunk of a stream.

    `max_output_tokens` is the most that one choice may have: what was asked for, else what the model can; 0 where
    nothing is written (embeddings).
    """

    request_id: RequestId
    endpoint: Endpoint
    upstream_model: str
    members: dict[str, msgspec.Raw]
    stream: bool
    include_usage: bool
    drop_params: bool
    input_estimate: int
    max_output_tokens: int


class Usage(msgspec.Struct, frozen=True):
    """`raw` is the provider's own usage object, verbatim; `tokens` the same in disjoint classes."""

    raw: msgspec.Raw
    tokens: Tokens


class Reply(msgspec.Struct, frozen=True):
    """A whole answer. `body` is what the client gets; `usage` None when the provider sent none.
    `output_chars` counts what a model wrote, for an estimate."""

    body: bytes
    model: str
    finish_reason: str
    usage: Usage | None
    output_chars: int


class ReplyPiece(msgspec.Struct, frozen=True):
    """Part of a streamed answer. `data` is whole server-sent events, possibly empty.

    `closing` is what must not reach the client before the charge is durable: the event that says that all is well
    (`data: [DONE]`, `message_stop`, `response.completed`). The last piece has it.
    """

    data: bytes
    output_chars: int = 0
    model: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    closing: bytes = b""
