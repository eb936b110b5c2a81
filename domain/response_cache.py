"""Answers that are given again to whoever asks the same: what "the same" is, how long, to whom, and in which shape.

Caching is opted into, so it is by what was asked, not by whether a model would say the same twice: temperature, seed,
`n` and tools are part of the question and forbid nothing. What hangs on state elsewhere is never cached.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from domain.canonical_json import Ambiguous, digest, meaning, meanings
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
NOT_ASKED = COUNTED_ELSEWHERE | SAYS_WHO | STEERS_A_CACHE
ECHOING: frozenset[Endpoint] = frozenset({"responses"})
"""Their answers repeat who asked and how the prompt is cached, so there these words make another question."""
STATEFUL = frozenset({"conversation", "previous_response_id", "background"})
"""Members whose answer hangs on, or changes, what a provider keeps."""
SAYS_NO = (b"null", b"false")


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`max_bytes` is the most that one answer may have, a stream with all its events. `hit_percent` is what it costs
    to get an answer again: a share of what its first asker was charged. ValueError when out of bounds."""

    ttl_s: int
    scope: Literal["account", "shared"] = "account"
    max_bytes: int = LARGEST_ANSWER_BYTES
    semantic: SemanticPolicy | None = None
    hit_percent: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.ttl_s <= LONGEST_TTL_S:
            raise ValueError(f"ttl_s is between 1 and {LONGEST_TTL_S}")
        if not 1 <= self.max_bytes <= LARGEST_ANSWER_BYTES:
            raise ValueError(f"max_bytes is between 1 and {LARGEST_ANSWER_BYTES}")
        if not 0 <= self.hit_percent <= 100:
            raise ValueError(
                f"hit_percent is {self.hit_percent}; give 0 (hits are free) to 100 (as dear as the answer)"
            )

    def scope_of(self, account_id: AccountId) -> str:
        """Who shares answers with this account."""
        return SHARED if self.scope == "shared" else account_id

    def hit_nanos(self, answer: "CachedAnswer") -> int:
        """What it costs to get this answer again, rounded once, half up, as a request's price is."""
        return (answer.cost_nanos * self.hit_percent + 50) // 100


class CacheKey(msgspec.Struct, frozen=True):
    """`digest` is SHA-256 over the scope and all that was asked, in hexadecimals."""

    scope: str
    digest: str


def cache_key(
    scope: str, endpoint: Endpoint, model: str, stream: bool, members: Mapping[str, msgspec.Raw]
) -> CacheKey | None:
    """The same for requests that mean the same, and for no others; None for one that is not to be cached.

    `scope` is an account's id or `SHARED`, `model` the name that was asked for: a route that leads elsewhere by now
    still gives what it gave before, until that ends or is purged. `members` are the
    request's, each encoded; all count but those that change nothing of the answer. A stream with a usage event is
    another answer than one without.
    """
    for name in STATEFUL & members.keys():
        if bytes(members[name]) not in SAYS_NO:
            return None
    try:
        return CacheKey(scope, digest(["answer.v2", scope, *asked(endpoint, model, stream, members)]))
    except Ambiguous:
        return None


def asked(endpoint: Endpoint, model: str, stream: bool, members: Mapping[str, msgspec.Raw]) -> list[object]:
    """All that decides what the answer is. Raises Ambiguous."""
    ignored = COUNTED_ELSEWHERE if endpoint in ECHOING else NOT_ASKED
    names = [name for name in members if name not in ignored]
    counted = dict(zip(names, meanings([bytes(members[name]) for name in names]), strict=True))
    return [endpoint, model, stream, stream and _wants_usage(members), counted]


def _wants_usage(members: Mapping[str, msgspec.Raw]) -> bool:
    options = meaning(bytes(members["stream_options"])) if "stream_options" in members else None
    return isinstance(options, dict) and options.get("include_usage") is True


class CachedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer as its first asker got it, ids and all: `body` is what to send, or the server-sent events of a
    stream, whose end is `closing`. `usage` is the provider's own object, JSON, verbatim (`null`: none). `similarity`
    says of an answer to another question how near that one is.

    `model` is what the provider said it used; `catalogue_model` and `provider` are who made it by the catalogue's
    names, and `cost_nanos` is what its first asker was charged. Answers kept by earlier releases say neither that name
    nor that cost: it is free to get them again.
    """

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
    catalogue_model: str = ""
    cost_nanos: int = 0

    @property
    def size_bytes(self) -> int:
        return len(self.body) + len(self.closing)


def answer_of(
    reply: Reply, endpoint: Endpoint, provider: str, at: datetime, *, catalogue_model: str, cost_nanos: int
) -> CachedAnswer:
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
        catalogue_model=catalogue_model,
        cost_nanos=cost_nanos,
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

    def answer(
        self, endpoint: Endpoint, provider: str, at: datetime, *, catalogue_model: str, cost_nanos: int
    ) -> CachedAnswer | None:
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
            catalogue_model=catalogue_model,
            cost_nanos=cost_nanos,
        )


class Looked(msgspec.Struct, frozen=True):
    """`answer`, or whether whoever looked `leads`: asks the provider, while others who want the same wait.

    `mark` stands for all purges of the scope so far, and is to be handed back with what is to be kept. None: nobody
    could look."""

    answer: CachedAnswer | None
    leads: bool
    mark: bytes | None = None


class ResponseCache(Protocol):
    """Reading and keeping never fail and take at most a tenth of a second: what cannot be read in time is a miss."""

    @property
    def is_asked(self) -> bool:
        """False for a while after it has stopped answering: all is a miss then."""
        ...

    def look(
        self, key: CacheKey, token: str = "", max_age_s: int | None = None, *, may_read: bool = True
    ) -> Awaitable[Looked]:
        """On its way when this returns; to be awaited once, or left. With a `token`, a word that no other look of any
        worker has, it takes the lead where there is no answer, in one step, so that no two lead at once. Everybody
        leads when nobody can tell: two that ask are better than none. Not `may_read`: only for the mark."""
        ...

    def put(
        self,
        key: CacheKey,
        answer: CachedAnswer,
        ttl_s: int,
        mark: bytes | None,
        token: str = "",
        kept: Callable[[], None] | None = None,
    ) -> bool:
        """Whether it is on its way; then the lead that was taken with `token` ends with it in any case. `kept` is
        called once it is there. What is older than a purge, by its `mark`, is not kept."""
        ...

    def release(self, key: CacheKey, token: str) -> None:
        """The lead that was taken with this token, and no other. Nobody waits for it."""
        ...

    async def purge(self, scope: str) -> None:
        """What was kept for an account (or `SHARED`) can never be read again. Raises Unavailable when that is not
        certain."""
        ...
