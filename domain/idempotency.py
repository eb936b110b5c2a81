"""One request and one answer for one `Idempotency-Key`: claimed before the work, then kept with its answer for a day.

A key is claimed by exactly one request, however many ask at once. Whatever becomes of that request, the key leads to no
second one: only who knows that nothing was sent upstream releases the claim. When in doubt, a key answers nothing
rather than run twice.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NewType, Protocol, TypeAlias

import msgspec

from domain.errors import InvalidInput
from domain.ids import RequestId

IdempotencyKey = NewType("IdempotencyKey", str)
Fingerprint = NewType("Fingerprint", str)

KEPT_S = 24 * 60 * 60
"""How long an answer is replayed, from its end."""
LONGEST_ANSWER_BYTES = 16 * 1024 * 1024
"""Of a body. A larger answer is given once and not kept."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]


def _verbatim(number: str) -> msgspec.Raw:
    return msgspec.Raw(number.encode())


_decode = msgspec.json.Decoder(float_hook=_verbatim).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def idempotency_key(text: str) -> IdempotencyKey:
    """As the header says it, 1 to 255 visible ASCII characters. Raises InvalidInput."""
    if not _KEY.fullmatch(text):
        raise InvalidInput(
            "An Idempotency-Key has 1 to 255 visible ASCII characters, without spaces; a UUID is a good one.",
            code="invalid_idempotency_key",
        )
    return IdempotencyKey(text)


def fingerprint(method: str, path: str, body: bytes) -> Fingerprint:
    """SHA-256, in hex, of what is asked. `path` includes the query.

    JSON counts by what it says, not by its spaces or the order of its members: a client may write it anew for a retry.
    Numbers count as they are written. What is no JSON counts byte by byte.
    """
    try:
        said, kind = _encode(_decode(body)), "json"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said, kind = body, "bytes"
    return Fingerprint(hashlib.sha256(msgspec.msgpack.encode((method, path, kind, said))).hexdigest())


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The right of one request to be the only one of its key. `place`, `revision` and `fingerprint` are the store's:
    where the claim is, which message it is, and the keyed fingerprint. `worker` is the process that took it."""

    scope: str
    place: str
    revision: int
    fingerprint: str
    request_id: RequestId
    worker: str
    since: datetime


class KeptAnswer(msgspec.Struct, frozen=True):
    """What a replay sends: of `headers` only those that hold for it too; a stream's body is all its bytes."""

    status: int
    headers: _Headers
    body: bytes
    is_stream: bool = False

    def __repr__(self) -> str:
        return f"KeptAnswer({self.status}, {len(self.body)} bytes)"


class AnswerTooLarge(msgspec.Struct, frozen=True):
    """There was an answer; it was too large to keep."""


class AnswerTape:
    """Collects a body while it goes out; lets go of it when it grows too large to keep."""

    def __init__(self, longest_bytes: int = LONGEST_ANSWER_BYTES) -> None:
        self._longest = longest_bytes
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._longest:
            self._pieces.clear()
        else:
            self._pieces.append(piece)

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], *, is_stream: bool) -> "CompleteAnswer":
        if self._size > self._longest:
            return AnswerTooLarge()
        return KeptAnswer(status, tuple(headers), b"".join(self._pieces), is_stream)


CompleteAnswer: TypeAlias = KeptAnswer | AnswerTooLarge


# What a key turns out to be.


class Won(msgspec.Struct, frozen=True):
    """Nobody used it: the caller runs the request, and then completes or releases the claim."""

    claim: Claim


class Running(msgspec.Struct, frozen=True):
    """Its request has no answer yet: 409, try again."""

    request_id: RequestId
    since: datetime


class Replay(msgspec.Struct, frozen=True):
    request_id: RequestId
    answer: KeptAnswer


class Mismatch(msgspec.Struct, frozen=True):
    """It was used for another request: 422."""

    request_id: RequestId


class Lost(msgspec.Struct, frozen=True):
    """Its request ended and left no answer: its worker died, or could not reach the store.

    The end may have been charged, so the key is not free: 409, not to be retried. Who finds in the log that it ended
    at no cost may release the claim and begin again.
    """

    claim: Claim


class Unreplayable(msgspec.Struct, frozen=True):
    """Its request was answered, and the answer is not here: 409, not to be retried."""

    request_id: RequestId
    reason: Literal["too_large", "unreadable"]


Outcome: TypeAlias = Won | Running | Replay | Mismatch | Lost | Unreplayable


class RequestEnds(Protocol):
    async def ended_at(self, claim: Claim) -> datetime | None:
        """When the claim's request came to its end, or its worker died without admitting it; None if it may still
        run. Raises Unavailable."""
        ...


class IdempotencyStore(Protocol):
    async def begin(
        self, scope: str, route: str, key: IdempotencyKey, fingerprint: Fingerprint, request_id: RequestId
    ) -> Outcome:
        """Of all who begin with the same `scope` (an account, or `anonymous:<ip>`), `route` and `key`, one wins.

        Raises Unavailable, and OutcomeUnknown when a claim may have been made: it is given back as soon as the store
        answers. Nothing may be sent upstream after either.
        """
        ...

    async def complete(self, claim: Claim, answer: CompleteAnswer) -> None:
        """Returns once the answer is durable; the same answer may be given again.

        Raises ConcurrentWrite when the claim is gone, Unavailable, or OutcomeUnknown. After any of them the key
        leads to no second request.
        """
        ...

    async def release(self, claim: Claim) -> None:
        """Free the key: nothing was sent upstream and nothing will be.

        Raises nothing: a store that does not answer is told later. A claim that was completed stays.
        """
        ...
