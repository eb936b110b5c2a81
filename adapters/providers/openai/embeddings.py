"""Embeddings of OpenAI, and of whatever speaks its format: answers pass through as the provider wrote them."""

from typing import Annotated

import msgspec

from adapters.dialects.reading import said
from adapters.providers.openai.errors import error_inside
from domain.pricing import Tokens
from domain.upstream import ProviderCall, Reply, Usage

EMBEDDINGS = "a list of embeddings"

_Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class _Usage(msgspec.Struct):
    prompt_tokens: _Count | None = None
    total_tokens: _Count | None = None


class _Answer(msgspec.Struct):
    model: str | None = None
    data: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()

    @property
    def is_error(self) -> bool:
        return bytes(self.error) not in (b"", b"null")


_decode = msgspec.json.Decoder(_Answer).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode


class EmbeddingsPassthrough:
    path = "/embeddings"

    def request_body(self, call: ProviderCall) -> bytes:
        """What the client asked, for the upstream model. Nulls say nothing and stay out."""
        model = msgspec.Raw(msgspec.json.encode(call.upstream_model))
        return msgspec.json.encode(said(call.members) | {"model": model})

    def reply(self, body: bytes, call: ProviderCall) -> Reply:
        """As it is, and measured. Raises ErrorInAnswer, whatever the bytes are."""
        try:
            str(body, "utf-8")
            answer = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise error_inside(body, EMBEDDINGS) from None
        if not answer.data or answer.is_error:
            raise error_inside(body, EMBEDDINGS)
        return Reply(
            body=body,
            model=answer.model or call.upstream_model,
            finish_reason="stop",
            usage=_usage_of(answer.usage),
            output_chars=0,
        )


def _usage_of(raw: msgspec.Raw) -> Usage | None:
    """Embeddings have input only: where it is not told apart, the total is all of it."""
    if bytes(raw) in (b"", b"null"):
        return None
    try:
        usage = _decode_usage(raw)
    except msgspec.DecodeError:
        return None
    tokens = usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens
    return None if tokens is None else Usage(raw.copy(), Tokens(input=tokens))
