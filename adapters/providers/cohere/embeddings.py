"""Cohere's embeddings, API v2."""

from collections.abc import Sequence
from typing import Any

import msgspec

from adapters.providers.cohere.errors import decoded, error_in
from adapters.providers.cohere.usage import usage_of
from adapters.providers.vocabulary import ErrorInAnswer
from domain.chat import Expressible
from domain.embedding import EmbeddingAsk, Embeddings
from domain.pricing import Tokens
from domain.upstream import Usage

PATH = "/v2/embed"
TEXTS_PER_CALL = 96
EXTRAS = frozenset({"input_type", "truncate", "max_tokens", "priority"})
INPUT_TYPE = "search_document"
"""Cohere must be told what its vectors are for. Clients that search say `search_query` for what they look for."""


class _ByType(msgspec.Struct):
    floats: tuple[tuple[float, ...], ...] | None = msgspec.field(default=None, name="float")


class _Answer(msgspec.Struct):
    embeddings: _ByType | None = None
    meta: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Answer).decode


class CohereEmbeddings:
    supports = EXTRAS | {"dimensions"}

    def requests(self, ask: EmbeddingAsk, expressible: Expressible) -> list[tuple[str, bytes]]:
        """Raises UnsupportedParameter."""
        said = [*ask.extras, *(["user"] if ask.user is not None else [])]
        for name in said:
            if name not in EXTRAS:
                expressible.refuse(name, "Cohere has no such parameter")
        same: dict[str, Any] = {
            "model": ask.model,
            "input_type": INPUT_TYPE,
            "embedding_types": ["float"],
            **({} if ask.dimensions is None else {"output_dimension": ask.dimensions}),
            **{name: value for name, value in ask.extras.items() if name in EXTRAS},
        }
        return [(PATH, msgspec.json.encode(same | {"texts": texts})) for texts in _batches(ask)]

    def read(self, ask: EmbeddingAsk, bodies: Sequence[bytes]) -> Embeddings:
        """The usage of several calls is their sum, and its `raw` the list of what each reported; one that does not
        report leaves all unknown. Raises ErrorInAnswer."""
        vectors: list[tuple[float, ...]] = []
        metas: list[msgspec.Raw] = []
        batches = _batches(ask)
        if len(bodies) != len(batches):
            raise ErrorInAnswer(f"Cohere answered {len(bodies)} of {len(batches)} calls.")
        for texts, body in zip(batches, bodies, strict=True):
            answer = decoded(body, _decode)
            floats = answer.embeddings.floats if answer.embeddings else None
            if floats is None:
                raise error_in(body)
            if len(floats) != len(texts) or not all(floats):
                raise ErrorInAnswer(f"Cohere sent {sum(map(bool, floats))} vectors for {len(texts)} texts.")
            vectors += floats
            metas.append(answer.meta)
        return Embeddings(model=ask.model, vectors=tuple(vectors), usage=_sum(metas))


def _batches(ask: EmbeddingAsk) -> list[tuple[str, ...]]:
    return [ask.inputs[first : first + TEXTS_PER_CALL] for first in range(0, len(ask.inputs), TEXTS_PER_CALL)]


def _sum(metas: Sequence[msgspec.Raw]) -> Usage | None:
    reports = [usage for meta in metas if (usage := usage_of(meta))]
    if not reports or len(reports) < len(metas):
        return None
    if len(reports) == 1:
        return reports[0]
    tokens = Tokens(
        input=sum(report.tokens.input for report in reports),
        cached_input=sum(report.tokens.cached_input for report in reports),
        output=sum(report.tokens.output for report in reports),
    )
    return Usage(msgspec.Raw(msgspec.json.encode([report.raw for report in reports])), tokens)
