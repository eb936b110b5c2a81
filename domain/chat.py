"""The one neutral shape of a chat completion: what is asked, what comes back, what it used.

The client's vocabulary is OpenAI's; a provider adapter answers in it, as bytes that are ready to send.
"""

import msgspec

from domain.ids import RequestId
from domain.pricing import Tokens


class ChatCall(msgspec.Struct, frozen=True):
    """`members` are the request's top-level members as the client sent them, each still encoded, validated before.
    `include_usage` is whether the client wants the usage chunk of a stream."""

    request_id: RequestId
    upstream_model: str
    members: dict[str, msgspec.Raw]
    stream: bool
    include_usage: bool
    input_estimate: int
    max_output_tokens: int


class Usage(msgspec.Struct, frozen=True):
    """`raw` is the provider's own usage object, verbatim; `tokens` the same in disjoint classes."""

    raw: msgspec.Raw
    tokens: Tokens


class ChatReply(msgspec.Struct, frozen=True):
    """A whole answer. `body` is an OpenAI `chat.completion` object; `usage` None when the provider sent none."""

    body: bytes
    model: str
    finish_reason: str
    usage: Usage | None
    output_chars: int


class ReplyPiece(msgspec.Struct, frozen=True):
    """Part of a streamed answer. `data` is whole server-sent events, possibly empty, never `[DONE]`."""

    data: bytes
    output_chars: int = 0
    model: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
