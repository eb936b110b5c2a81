"""Answers that are given again to whoever asks the same: what "the same" is, how long, to whom, and in which shape.

Caching is opted into, so it is by what was asked, not by whether a model would say the same twice: temperature, seed,
`n` and tools are part of the question and forbid nothing. What hangs on state elsewhere is never cached.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from domain.canonical_json import Ambiguous, digest, meaning
from domain.ids import AccountId
from domain.pricing import Tokens
from domain.semantic_cache import SemanticPolicy
from domain.upstream import Endpoint, Reply, ReplyPiece

SHARED = "shared"
LONGEST_TTL_S = 30 * 86_400
LARGEST_ANSWER_BYTES = 1024 * 1024

COUNTED_ELSEWHERE = frozenset({"model", "stream", "stream_options", "drop_params"})
"""The first two are asked for by name, `include_usage` is read out of the third, and the last is the gateway's own:
what a provider would refuse is refused before the cache is asked."""
SAYS_WHO = frozenset({"user", "safety_identifier", "metadata"})
STEERS_A_CACHE = frozenset({"prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"})
ECHOING: frozenset[Endpoint] = frozenset({"responses"})
"""Their answers repeat who asked and how the prompt is cached, so there these words make another question."""
STATEFUL = frozenset({"conversation", "previous_response_id", "background"})
"""Members whose answer hangs on, or changes, what a provider keeps."""
SAYS_NO = (b"null", b"false")


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`max_bytes` is the most that one answer may have, a stream with all its events. ValueError when out of bounds."""

    ttl_s: int
    scope: Literal["account", "shared"] = "account"
    max_bytes: int = LARGEST_ANSWER_BYTES
    semantic: SemanticPolicy | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.ttl_s <= LONGEST_TTL_S:
            raise ValueError(f"ttl_s is between 1 and {LONGEST_TTL_S}")
        if not 1 <= self.max_bytes <= LARGEST_ANSWER_BYTES:
            raise ValueError(f"max_bytes is between 1 and {LARGEST_ANSWER_BYTES}")

    def scope_of(self, account_id: AccountId) -> str:
        """Who shares answers with this account."""
        return SHARED if self.scope == "shared" else account_id


class CacheKey(msgspec.Struct, frozen=True):
    """`digest` is SHA-256 over the scope and all that was asked, in hexadecimals."""

    scope: str
    digest: str


def cache_key(
    scope: str, endpoint: Endpoint, model: str, stream: bool, members: Mapping[str, msgspec.Raw]
) -> CacheKey | None:
    """The same for requests that mean the same, and for no others; None for one that is not to be cached.

    `scope` is an account's id or `SHARED`, `model` the model that answers, with its provider. `members` are the
    request's, each encoded; all count but those that change nothing of the answer. A stream with a usage event is
    another answer than one without.
    """
    if any(name in members and bytes(members[name]) not in SAYS_NO for name in STATEFUL):
        return None
    try:
        return CacheKey(scope, digest(["answer.v1", scope, *asked(endpoint, model, stream, members)]))
    except Ambiguous:
        return None


def asked(endpoint: Endpoint, model: str, stream: bool, members: Mapping[str, msgspec.Raw]) -> list[object]:
    """All that decides what the answer is. Raises Ambiguous."""
    ignored = COUNTED_ELSEWHERE if endpoint in ECHOING else COUNTED_ELSEWHERE | SAYS_WHO | STEERS_A_CACHE
    counted = {name: meaning(bytes(value)) for name, value in members.items() if name not in ignored}
    return [endpoint, model, stream, stream and _wants_usage(members), counted]


def _wants_usage(members: Mapping[str, msgspec.Raw]) -> bool:
    options = meaning(bytes(members["stream_options"])) if "stream_options" in members else None
    return isinstance(options, dict) and options.get("include_usage") is True


class CachedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer as its first asker got it, ids and all: `body` is what to send, or the server-sent events of a
    stream, whose end is `closing`. `usage` is the provider's own object, JSON, verbatim (`null`: none). `similarity`
    says of an answer to another question how near that one is."""

    endpoint: Endpoint
    model: str
    provider: str
    is_stream: bool
    body: bytes
    finish_reason: str
    stored_at: datetime
    closing: bytes = b""
    status: int = 200
    tokens: Tokens = Tokens()
    usage: bytes = b"null"
    similarity: float | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.body) + len(self.closing)


def answer_of(reply: Reply, endpoint: Endpoint, provider: str, at: datetime) -> CachedAnswer:
    """A plain answer, as it is to be kept."""
    return CachedAnswer(
        endpoint=endpoint,
        model=reply.model,
        provider=provider,
        is_stream=False,
        body=reply.body,
        finish_reason=reply.finish_reason,
        stored_at=at,
        tokens=reply.usage.tokens if reply.usage else Tokens(),
        usage=bytes(reply.usage.raw) if reply.usage else b"null",
    )


class StreamTape:
    """Takes the pieces of a stream as they pass. Beyond `max_bytes` it lets go of all it has."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._data: list[bytes] = []
        self._size = 0
        self._closing = b""
        self._model = ""
        self._finish_reason: str | None = None
        self._tokens = Tokens()
        self._usage = b"null"

    def add(self, piece: ReplyPiece) -> None:
        self._size += len(piece.data) + len(piece.closing)
        if self._size > self._max_bytes:
            self._data.clear()
            return
        self._data.append(piece.data)
        self._closing += piece.closing
        self._model = piece.model or self._model
        self._finish_reason = piece.finish_reason or self._finish_reason
        if piece.usage is not None:
            self._tokens, self._usage = piece.usage.tokens, bytes(piece.usage.raw)

    def answer(self, endpoint: Endpoint, provider: str, at: datetime) -> CachedAnswer | None:
        """To be asked for once the stream ended well; None when it was too large, or had no closing."""
        if self._size > self._max_bytes or not self._closing:
            return None
        return CachedAnswer(
            endpoint=endpoint,
            model=self._model,
            provider=provider,
            is_stream=True,
            body=b"".join(self._data),
            closing=self._closing,
            finish_reason=self._finish_reason or "stop",
            stored_at=at,
            tokens=self._tokens,
            usage=self._usage,
        )


class Looked(msgspec.Struct, frozen=True):
    """`answer`, or whether whoever looked `leads`: asks the provider, while others who want the same wait."""

    answer: CachedAnswer | None
    leads: bool


class ResponseCache(Protocol):
    """Reading and keeping never fail and take at most a tenth of a second: what cannot be read in time is a miss."""

    @property
    def is_asked(self) -> bool:
        """False for a while after it has stopped answering: all is a miss then."""
        ...

    async def get(self, key: CacheKey, max_age_s: int | None = None) -> CachedAnswer | None: ...

    async def get_or_lead(self, key: CacheKey, token: str, max_age_s: int | None = None) -> Looked:
        """In one step, so that no two lead at once. `token` is a word that no other look of any worker has. Everybody
        leads when nobody can tell: two that ask are better than none."""
        ...

    async def put(self, key: CacheKey, answer: CachedAnswer, ttl_s: int, token: str = "") -> bool:
        """Whether it is kept; the lead that was taken with `token` ends with that."""
        ...

    async def release(self, key: CacheKey, token: str) -> None:
        """The lead that was taken with this token, and no other."""
        ...

    async def purge(self, scope: str) -> None:
        """What was kept for an account (or `SHARED`) can never be read again. Raises Unavailable when that is not
        certain."""
        ...
