"""Gemini's embedding models behind `batchEmbedContents`."""

import math
from collections.abc import Sequence

import msgspec

from adapters.providers.gemini.errors import error_in_answer
from adapters.providers.gemini.models import bare_name, method_path, resource_name
from adapters.providers.gemini.usage import Count
from adapters.providers.vocabulary import UNREADABLE, ErrorInAnswer
from domain.chat import Expressible
from domain.embedding import EmbeddingAsk, Embeddings
from domain.errors import InvalidInput
from domain.pricing import Tokens
from domain.upstream import Usage

MAX_INPUTS = 100
"""Of one call."""

_OWN = {"task_type": "taskType", "taskType": "taskType", "title": "title"}


class _Embedding(msgspec.Struct):
    values: tuple[float, ...] = ()


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: Count


class _Batch(msgspec.Struct, rename="camel"):
    embeddings: list[_Embedding]
    usage_metadata: msgspec.Raw = msgspec.Raw()


_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_text = msgspec.json.Decoder(str).decode


class GeminiEmbeddings:
    """Says `EmbeddingVocabulary`. `gemini-embedding-001` reports no usage."""

    supports = frozenset({*_OWN, "dimensions"})

    def requests(self, ask: EmbeddingAsk, expressible: Expressible) -> list[tuple[str, bytes]]:
        common = self._common(ask, expressible)
        path = method_path(ask.model, "batchEmbedContents")
        return [(path, _batch(ask.inputs[start : start + MAX_INPUTS], common)) for start in _starts(ask)]

    def read(self, ask: EmbeddingAsk, bodies: Sequence[bytes]) -> Embeddings:
        starts = _starts(ask)
        if len(bodies) != len(starts):
            raise ErrorInAnswer("Gemini answered for some of the inputs only.")
        vectors: list[tuple[float, ...]] = []
        usages: list[msgspec.Raw] = []
        for start, body in zip(starts, bodies, strict=True):
            batch = _decoded(body)
            if len(batch.embeddings) != min(MAX_INPUTS, len(ask.inputs) - start):
                raise ErrorInAnswer("Gemini answered for some of the inputs only.")
            vectors += [_vector(one, ask.dimensions is not None) for one in batch.embeddings]
            usages.append(batch.usage_metadata)
        return Embeddings(model=bare_name(ask.model), vectors=tuple(vectors), usage=_usage(usages))

    def _common(self, ask: EmbeddingAsk, expressible: Expressible) -> dict[str, object]:
        """What is said of every input."""
        common: dict[str, object] = {"model": resource_name(ask.model)}
        if ask.user is not None:
            expressible.refuse("user", "Gemini has no such parameter")
        if ask.dimensions is not None:
            common["outputDimensionality"] = ask.dimensions
        for name, value in ask.extras.items():
            if name in _OWN:
                common[_OWN[name]] = _text(name, value)
            else:
                expressible.refuse(name, "Gemini has no such parameter")
        return common


def _starts(ask: EmbeddingAsk) -> range:
    return range(0, len(ask.inputs), MAX_INPUTS)


def _batch(inputs: Sequence[str], common: dict[str, object]) -> bytes:
    requests = [common | {"content": {"parts": [{"text": text}]}} for text in inputs]
    return msgspec.json.encode({"requests": requests})


def _text(name: str, value: msgspec.Raw) -> str:
    try:
        return _decode_text(value)
    except UNREADABLE:
        raise InvalidInput(f"{name}: must be a string, such as RETRIEVAL_QUERY.", field=name) from None


def _decoded(body: bytes) -> _Batch:
    try:
        return _decode_batch(body)
    except UNREADABLE:
        raise error_in_answer(body) from None


def _vector(embedding: _Embedding, is_shortened: bool) -> tuple[float, ...]:
    """Of unit length: Gemini cuts a vector to the dimensions that were asked for, and leaves it short."""
    if not embedding.values:
        raise ErrorInAnswer("Gemini answered with a vector that is empty.")
    norm = math.hypot(*embedding.values) if is_shortened else 1.0
    if norm in (0.0, 1.0) or not math.isfinite(norm):
        return embedding.values
    return tuple(value / norm for value in embedding.values)


def _usage(reports: Sequence[msgspec.Raw]) -> Usage | None:
    """None unless every call reported. Several reports stand in `raw` as a list."""
    try:
        count = sum(_decode_usage(report).prompt_token_count for report in reports)
        [str(report, "utf-8") for report in reports]
    except UNREADABLE:
        return None
    if not reports:
        return None
    raw = reports[0].copy() if len(reports) == 1 else msgspec.Raw(msgspec.json.encode(list(reports)))
    return Usage(raw, Tokens(input=count))
