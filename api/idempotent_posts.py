"""`Idempotency-Key` on every POST: the work is done once, and its answer is given again to whoever asks again.

It stands around a route and sees only ASGI, so a stream is kept as the bytes that went out. An answer is durable before
its last byte leaves. The route itself never learns that its client is gone: whoever asks again wants the whole answer.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog

from api.ai_errors import WholeErrors
from api.auth import Authenticator
from api.body import ClientGone, Receive, read_body
from api.errors import failure_from
from api.request_id import GIVEN
from api.send import Send, send_whole
from api.slow_client import SLOW_CLIENT_S
from domain.errors import AnswerLost, ConcurrentWrite, KeyMismatch, KeyRunning, Unavailable
from domain.idempotency import (
    AnswerTape,
    Claim,
    IdempotencyStore,
    KeptAnswer,
    Lost,
    Mismatch,
    Replay,
    Running,
    Unreplayable,
    Won,
    fingerprint,
    idempotency_key,
)
from domain.ids import RequestId

KEY_HEADER = b"idempotency-key"
REPLAYED = (b"idempotency-replayed", b"true")
NOT_KEPT = frozenset({b"content-length", b"date", b"connection", b"transfer-encoding"})
COST, NOTHING = b"x-agg-cost-usd", b"0.00"
SHOULD_RETRY = b"x-should-retry"

App = Callable[[Any, Any, Any], Any]

logger = structlog.get_logger()


def has_key(scope: Any) -> bool:
    return any(name == KEY_HEADER for name, _ in scope["headers"])


class IdempotentPosts:
    """`new_request_id` mints ids for routes that take them from here."""

    def __init__(
        self, store: IdempotencyStore, authenticator: Authenticator, new_request_id: Callable[[], RequestId]
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._new_request_id = new_request_id

    async def __call__(self, app: App, errors: WholeErrors, scope: Any, receive: Receive, send: Send) -> None:
        """For a POST that has the header."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = self._new_request_id()
        try:
            body, outcome = await self._begin(scope, headers, receive, request_id)
            if not isinstance(outcome, Won):
                await _replay(send, _answer_in(outcome))
                return
        except ClientGone:
            return
        except Exception as error:
            answer = errors.whole(failure_from(error, "idempotent_post_failed"), request_id)
            await send_whole(send, answer.status, answer.raw_headers, answer.body)
            return
        recorder = _Recorder(self._store, outcome.claim, send)
        await app({**scope, GIVEN: request_id}, _once(body), recorder)

    async def _begin(
        self, scope: Any, headers: Mapping[bytes, bytes], receive: Receive, request_id: RequestId
    ) -> tuple[bytes, Any]:
        key = idempotency_key(headers[KEY_HEADER].decode("latin-1"))
        caller = await self._scope_of(scope, headers)
        body = await read_body(receive, headers)
        path: str = scope["path"]
        wanted = fingerprint("POST", f"{path}?{scope['query_string'].decode('latin-1')}", body)
        return body, await self._store.begin(caller, path, key, wanted, request_id)

    async def _scope_of(self, scope: Any, headers: Mapping[bytes, bytes]) -> str:
        """An account, or for those who have none yet the address they come from."""
        if b"authorization" in headers or b"x-api-key" in headers:
            return (await self._authenticator.admit(headers)).account_id
        client = scope.get("client")
        return f"anonymous:{client[0] if client else ''}"


class _Recorder:
    """Sends on, and keeps. Once the client is gone, or takes nothing for long, it only keeps."""

    def __init__(self, store: IdempotencyStore, claim: Claim, send: Send) -> None:
        self._store = store
        self._claim = claim
        self._send = send
        self._tape = AnswerTape()
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._is_stream = False
        self._gone = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            self._tape.add(message.get("body", b""))
            if message.get("more_body"):
                self._is_stream = True
            else:
                await self._keep()
        await self._forward(message)

    async def _keep(self) -> None:
        if self._was_free():
            await self._store.release(self._claim)
            return
        kept = [(name, value) for name, value in self._headers if name not in NOT_KEPT]
        try:
            await self._store.complete(self._claim, self._tape.answer(self._status, kept, is_stream=self._is_stream))
        except (ConcurrentWrite, Unavailable) as failure:
            logger.error("idempotent_answer_not_kept", request_id=self._claim.request_id, reason=str(failure))

    def _was_free(self) -> bool:
        """Refused, or failed at no cost: asking again does no harm. What may have been done is never free."""
        headers = dict(self._headers)
        if self._status < 400 or headers.get(COST, NOTHING) != NOTHING:
            return False
        return self._status < 500 or headers.get(SHOULD_RETRY) != b"false"

    async def _forward(self, message: Any) -> None:
        if self._gone:
            return
        try:
            async with asyncio.timeout(SLOW_CLIENT_S):
                await self._send(message)
        except (OSError, TimeoutError):
            self._gone = True


def _answer_in(outcome: Any) -> KeptAnswer:
    """Raises KeyRunning, KeyMismatch and AnswerLost."""
    match outcome:
        case Replay(answer=answer):
            return answer
        case Running(request_id=request_id):
            raise KeyRunning(request_id)
        case Mismatch(request_id=request_id):
            raise KeyMismatch(request_id)
        case Lost(claim=claim):
            raise AnswerLost(claim.request_id, "its answer was lost with the process that had it")
        case Unreplayable(request_id=request_id, reason=reason):
            why = "its answer was too large to be kept" if reason == "too_large" else "its answer cannot be read"
            raise AnswerLost(request_id, why)
        case _:
            raise AssertionError(outcome)


async def _replay(send: Send, answer: KeptAnswer) -> None:
    with suppress(OSError):
        await send_whole(send, answer.status, [*answer.headers, REPLAYED], answer.body)


def _once(body: bytes) -> Receive:
    """The body, and then nothing: no hang-up is ever told."""
    is_read = False

    async def receive() -> Any:
        nonlocal is_read
        if is_read:
            await asyncio.Event().wait()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
