"""OpenAI's /embeddings as its clients speak it."""

import sys
from array import array
from base64 import b64encode
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from adapters.dialects.dialect import BYTES_PER_TOKEN, ClientRequest
from adapters.dialects.reading import decoded, said
from domain.embedding import EmbeddingAsk, Embeddings
from domain.errors import InvalidInput, UnsupportedParameter
from domain.upstream import Endpoint, ProviderCall

MAX_INPUTS = 2048
ACCEPTED = {"encoding_format": "float or base64"}
OPENAIS = frozenset({"model", "input", "encoding_format", "dimensions", "user"})
NULL = msgspec.Raw(b"null")

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Token = Annotated[int, msgspec.Meta(ge=0)]
_Tokens = Annotated[list[_Token], msgspec.Meta(min_length=1)]
_Input: TypeAlias = _Text | Annotated[list[_Text | _Token | _Tokens], msgspec.Meta(min_length=1)]


class EmbeddingsRequest(msgspec.Struct):
    """What the gateway itself must understand. Other members are the provider's, or are refused for it."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    input: _Input
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    user: str | None = None
    drop_params: bool | None = None


_decode_request = msgspec.json.Decoder(EmbeddingsRequest).decode
_decode_texts = msgspec.json.Decoder(str | list[str]).decode
_decode_dimensions = msgspec.json.Decoder(int | None).decode
_decode_user = msgspec.json.Decoder(str | None).decode


class EmbeddingsDialect:
    """Stateless; one for the process."""

    endpoint: Endpoint = "embeddings"

    def check(self, body: bytes) -> ClientRequest:
        """Raises InvalidInput that names the place and what fits there."""
        request, members = decoded(body, _decode_request, ACCEPTED)
        entries, text_bytes = _size(request.input)
        return ClientRequest(
            endpoint=self.endpoint,
            model=request.model,
            members=said(members),
            body_bytes=len(body),
            text_bytes=text_bytes,
            drop_params=bool(request.drop_params),
            entries=entries,
        )

    def read(self, call: ProviderCall) -> EmbeddingAsk:
        """For a provider of another format. Raises UnsupportedParameter: tokens mean something to their own model."""
        members = call.members
        try:
            texts = _decode_texts(members["input"])
        except msgspec.ValidationError:
            raise UnsupportedParameter(
                "input", "input: this model takes text, not tokens; send strings.", capability="token_arrays"
            ) from None
        return EmbeddingAsk(
            model=call.upstream_model,
            inputs=(texts,) if isinstance(texts, str) else tuple(texts),
            dimensions=_decode_dimensions(members.get("dimensions", NULL)),
            user=_decode_user(members.get("user", NULL)),
            extras={name: value for name, value in said(members).items() if name not in OPENAIS},
        )

    def whole(self, embeddings: Embeddings, call: ProviderCall) -> bytes:
        """A list of embeddings in the order of the input. Where nobody counted, the usage is the estimate."""
        encoded = bytes(call.members.get("encoding_format", NULL)) == b'"base64"'
        tokens = embeddings.usage.tokens.prompt if embeddings.usage else call.input_estimate
        answer: dict[str, Any] = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _base64(vector) if encoded else vector}
                for index, vector in enumerate(embeddings.vectors)
            ],
            "model": embeddings.model or call.upstream_model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        return msgspec.json.encode(answer)


def _size(asked: str | list[str | int | list[int]]) -> tuple[int, int]:
    """How many inputs there are, and the bytes of their text: of a token as many as one has on average."""
    if isinstance(asked, str):
        return 1, len(asked.encode())
    kinds = {type(item) for item in asked}
    if len(kinds) > 1:
        raise InvalidInput("input: holds several kinds; use only strings, or only tokens.", field="input")
    entries = 1 if kinds == {int} else len(asked)
    if entries > MAX_INPUTS:
        raise InvalidInput(f"input: {entries} inputs; use at most {MAX_INPUTS}.", field="input")
    return entries, sum(map(_text_bytes, asked))


def _text_bytes(item: str | int | list[int]) -> int:
    if isinstance(item, str):
        return len(item.encode())
    return BYTES_PER_TOKEN * (1 if isinstance(item, int) else len(item))


def _base64(vector: tuple[float, ...]) -> str:
    """Little-endian float32, as OpenAI's own clients ask for it unasked."""
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return b64encode(floats).decode("ascii")
