"""The one neutral shape of embeddings: what is asked, and the vectors that come back."""

from collections.abc import Mapping

import msgspec

from domain.upstream import Usage


class EmbeddingAsk(msgspec.Struct, frozen=True, kw_only=True):
    """`extras` are members that OpenAI does not have (`input_type`, `task_type`, `truncate` …), still encoded."""

    model: str
    inputs: tuple[str, ...]
    dimensions: int | None = None
    user: str | None = None
    extras: Mapping[str, msgspec.Raw] = {}


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """One vector for each input, in their order."""

    model: str
    vectors: tuple[tuple[float, ...], ...]
    usage: Usage | None
