"""POST /chat/completions as raw ASGI: the hot path, from bytes to bytes.

The coroutine itself drains the provider. A client that hangs up or stops reading changes nothing about it: the server
does not cancel it, and what the provider reports is charged.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from api.auth import Authenticator, Caller
from api.body import ClientGone, Receive, read_body
from api.chat_request import parse
from api.errors import INTERNAL, Failure, failure_of, openai_error
from api.slow_client import SlowClient
from api.telemetry import ChatTelemetry
from commands.complete_chat import CompleteChat, CompleteChatHandler, Running
from domain.catalog import Model
from domain.chat import ReplyPiece
from domain.errors import AggregatorError, ModelNotFound, ProviderError
from domain.ids import RequestId
from domain.money import usd

Send = Callable[[dict[str, Any]], Awaitable[None]]
FindModel = Callable[[str], Model | None]

SLOW_CLIENT_S = 30.0
"""A client that takes nothing for so long is not served any further; its request is still accounted."""

DONE = b"data: [DONE]\n\n"
JSON = (b"content-type", b"application/json")
EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)

logger = structlog.get_logger()


class ChatEndpoint:
    """`new_request_id` mints `req_…` ids; `find_model` looks a name up in the live catalogue."""

    def __init__(
        self,
        authenticator: Authenticator,
        find_model: FindModel,
        complete_chat: CompleteChatHandler,
        telemetry: ChatTelemetry,
        new_request_id: Callable[[], RequestId],
    ) -> None:
        self._authenticator = authenticator
        self._find_model = find_model
        self._complete_chat = complete_chat
        self._telemetry = telemetry
        self._new_request_id = new_request_id

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        started_s = time.perf_counter()
        request_id = self._new_request_id()
        try:
            command = await self._command(scope, receive, request_id, started_s)
            running = await self._complete_chat.admit(command)
        except ClientGone:
            return
        except Exception as error:
            await self._refuse(send, request_id, _failure(error))
            return
        await _Answer(self._complete_chat, self._telemetry, running, receive, send).run()

    async def _command(self, scope: Any, receive: Receive, request_id: RequestId, started_s: float) -> CompleteChat:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        caller: Caller = await self._authenticator.admit(headers)
        body = await read_body(receive, headers)
        request, members = parse(body)
        now = datetime.now(UTC)
        model = self._find_model(request.model)
        price = model and model.price_at(now)
        if model is None or price is None:
            raise ModelNotFound(request.model)
        return CompleteChat(
            request_id=request_id,
            account_id=caller.account_id,
            key_id=caller.key_id,
            user_id=caller.user_id,
            at=now,
            started_s=started_s,
            model=model,
            price=price,
            members=members,
            stream=bool(request.stream),
            include_usage=bool(request.stream_options and request.stream_options.include_usage),
            choices=request.n or 1,
            max_output_tokens=request.output_limit(model),
            input_bound=request.input_bound(len(body), model),
            input_estimate=request.input_estimate(),
        )

    async def _refuse(self, send: Send, request_id: RequestId, failure: Failure) -> None:
        answer = openai_error(failure, request_id)
        self._telemetry.refused(answer.status)
        await _send_whole(
            send, answer.status, [*answer.raw_headers, (b"x-request-id", request_id.encode())], answer.body
        )


class _Answer:
    """One admitted request's way back to the client."""

    def __init__(
        self, handler: CompleteChatHandler, telemetry: ChatTelemetry, running: Running, receive: Receive, send: Send
    ) -> None:
        self._handler = handler
        self._telemetry = telemetry
        self._running = running
        self._receive = receive
        self._send = send
        self._slow = SlowClient(SLOW_CLIENT_S)
        self._started = False

    async def run(self) -> None:
        try:
            await (self._stream() if self._running.command.stream else self._whole())
        except Exception as error:
            await self._fail(error)
        self._telemetry.ended(self._running)

    async def _whole(self) -> None:
        reply = await self._handler.complete(self._running)
        headers = [JSON, *self._headers(self._running.end_position), *_cost(self._running)]
        await _send_whole(self._send, 200, headers, reply.body)

    async def _stream(self) -> None:
        watcher = asyncio.create_task(self._watch())
        try:
            async with SlowClient(SLOW_CLIENT_S) as slow:
                self._slow = slow
                async for piece in self._handler.stream(self._running):
                    await self._pass_on(piece)
                await self._begin()
                await self._give(_receipt(self._running) + DONE, more=False)
        finally:
            watcher.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._running.client_gone = True

    async def _pass_on(self, piece: ReplyPiece) -> None:
        if not self._running.client_gone and piece.data:
            await self._begin()
            await self._give(piece.data, more=True)

    async def _begin(self) -> None:
        """The status goes out with the first piece, so that a failure before it has a status of its own."""
        if not self._started:
            self._started = True
            headers = [*EVENT_STREAM, *self._headers(self._running.admitted_position)]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _give(self, data: bytes, *, more: bool) -> None:
        if self._running.client_gone:
            return
        taken = await self._slow.bounded(self._send({"type": "http.response.body", "body": data, "more_body": more}))
        if not taken:
            self._running.client_gone = True

    async def _fail(self, error: Exception) -> None:
        """Once the stream has begun, an error is an event and no `[DONE]` follows."""
        answer = openai_error(_failure(error), self._running.command.request_id)
        if self._started:
            await self._give(b"data: " + answer.body + b"\n\n", more=False)
            return
        headers = [*answer.raw_headers, *self._headers(self._running.end_position), *_cost(self._running)]
        if not isinstance(error, ProviderError) or (self._running.end and self._running.end.cost_nanos):
            headers.append((b"x-should-retry", b"false"))
        await _send_whole(self._send, answer.status, headers, answer.body)

    def _headers(self, position: int) -> list[tuple[bytes, bytes]]:
        command = self._running.command
        return [
            (b"x-request-id", command.request_id.encode()),
            (b"x-agg-provider", command.model.provider.encode()),
            (b"x-agg-model", command.model.model.encode()),
            (b"x-agg-cache", b"bypass"),
            (b"x-agg-attempts", b"1"),
            (b"x-agg-position", b"REQ:%d" % position),
        ]


def _failure(error: Exception) -> Failure:
    """What nobody expected is logged, and told without internals."""
    if isinstance(error, AggregatorError):
        return failure_of(error)
    logger.error("chat_failed", exc_info=error)
    return INTERNAL


def _cost(running: Running) -> list[tuple[bytes, bytes]]:
    return [(b"x-agg-cost-usd", usd(running.end.cost_nanos).encode())] if running.end else []


def _receipt(running: Running) -> bytes:
    """What headers cannot say before the end, as comments that clients pass over."""
    cost = usd(running.end.cost_nanos) if running.end else "unknown"
    return f": x-agg-cost-usd: {cost}\n: x-agg-position: REQ:{running.end_position}\n\n".encode()


async def _send_whole(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
