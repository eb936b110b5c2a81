"""Answers that are given again to whoever asks nearly the same: the last turn may differ in its words, nothing else.

Only chats that are text alone. The text of the last turn, the user's, is embedded and compared by cosine similarity;
everything before and beside it (system, earlier turns, model, every option) must be equal, as its digest is.
"""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import msgspec

LONGEST_TEXT = 8_000
"""Characters. The similarity of longer texts says little, and embedding models take no more than 8,192 tokens."""
MOST_DIMENSIONS = 4_096
LARGEST_COMPONENT = 1e6
SPEAKERS = frozenset({"system", "developer", "user", "assistant"})
MESSAGE_MEMBERS = frozenset({"role", "content", "name"})
TOOLS = frozenset({"tools", "functions"})
"""What a model hands to a tool hangs on single words."""
TEXT_PARTS = frozenset({"text"})


class SemanticPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`threshold` is the least cosine similarity of two texts that count as the same question; ValueError unless it is
    within (0, 1]."""

    embedding_model: str
    threshold: float

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError("threshold is above 0 and at most 1")


class SemanticQuestion(msgspec.Struct, frozen=True):
    """`text` is to be embedded. `rest` is the meaning of all else that was asked."""

    text: str
    rest: list[object]


def split_question(asked: Sequence[object]) -> SemanticQuestion | None:
    """What `response_cache.asked` made, without the text of its last turn; None when it is no chat of text alone."""
    endpoint, *others, members = asked
    if endpoint not in ("chat.completions", "messages") or not isinstance(members, dict):
        return None
    counted = cast(dict[str, Any], members)
    messages = counted.get("messages")
    if not TOOLS.isdisjoint(counted) or not isinstance(messages, list) or not messages:
        return None
    turns = cast(list[Any], messages)
    if not all(_is_text(turn) for turn in turns) or turns[-1]["role"] != "user":
        return None
    text = _text_of(turns[-1]["content"])
    if not text.strip() or len(text) > LONGEST_TEXT or not _can_be_sent(text):
        return None
    last = {name: value for name, value in turns[-1].items() if name != "content"}
    return SemanticQuestion(text, [endpoint, *others, {**counted, "messages": [*turns[:-1], last]}])


def _is_text(turn: Any) -> bool:
    if not isinstance(turn, dict) or not turn.keys() <= MESSAGE_MEMBERS or turn.get("role") not in SPEAKERS:
        return False
    content = turn.get("content")
    return isinstance(content, str) or (isinstance(content, list) and all(_is_text_part(part) for part in content))


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in TEXT_PARTS and isinstance(part.get("text"), str)


def _text_of(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def _can_be_sent(text: str) -> bool:
    """Half of a surrogate pair, which JSON can escape, is in no encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class SemanticPlace(msgspec.Struct, frozen=True):
    """Texts are compared within one place only. `rest_digest` has the endpoint, the model and all options in it;
    `scope` is an account's id or `SHARED`; `embedding_model` is the one that made the vectors."""

    scope: str
    rest_digest: str
    embedding_model: str


def is_comparable(vector: Sequence[float]) -> bool:
    """Whether a cosine similarity to it exists."""
    is_bounded = all(abs(component) <= LARGEST_COMPONENT for component in vector)  # no NaN is
    return is_bounded and any(vector) and len(vector) <= MOST_DIMENSIONS


class _Embedding(msgspec.Struct):
    embedding: list[float]


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]


def read_vector(body: bytes) -> list[float] | None:
    """Out of an answer of the embeddings endpoint to one text, in floats; None when it cannot be compared."""
    try:
        vectors = msgspec.json.decode(body, type=_Embeddings).data
    except msgspec.DecodeError:
        return None
    return vectors[0].embedding if len(vectors) == 1 and is_comparable(vectors[0].embedding) else None


class NearQuestion(msgspec.Struct, frozen=True):
    """`digest` is that of its `CacheKey`; `similarity` the cosine, at most 1."""

    digest: str
    similarity: float


class SemanticIndex(Protocol):
    """Which answers were given to texts like this one. Neither `nearest` nor `add` ever fails or takes more than 50 ms:
    what cannot be found in time is not there."""

    @property
    def can_compare(self) -> bool:
        """Whether it is worth the price of an embedding to ask."""
        ...

    async def nearest(self, place: SemanticPlace, vector: Sequence[float], threshold: float) -> NearQuestion | None:
        """The most similar question, if it is similar enough."""
        ...

    async def add(self, place: SemanticPlace, vector: Sequence[float], digest: str, ttl_s: int) -> None: ...

    async def purge(self, scope: str) -> None:
        """Raises Unavailable."""
        ...
