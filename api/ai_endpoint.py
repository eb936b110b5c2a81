"""The AI routes as raw ASGI: the hot path, from bytes to bytes.

The coroutine itself drains the provider. A client that hangs up or stops reading changes nothing about it: the server
does not cancel it, and what the provider reports is charged.
"""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from adapters.dialects.dialect import ClientRequest
from api.ai_errors import ErrorFormat
from api.answer_cache import BYPASS, AnswerCache, CacheTurn
from api.auth import Authenticator, Caller
from api.body import ClientGone, Receive, read_body
from api.errors import Failure, failure_from
from api.keep_alive import KeepAlive
from api.model_names import ModelNames
from api.rate_limits import Permit, RateLimits
from api.request_id import GIVEN
from api.send import Send, send_whole
from api.slow_client import SlowClient
from api.telemetry import RequestTelemetry
from commands.answer_request import AnswerRequest, AnswerRequestHandler, Running
from commands.route_plan import RouteAsk
from commands.route_requests import RouteBook
from domain.errors import UnsupportedParameter
from domain.ids import RequestId
from domain.money import usd
from domain.upstream import ReplyPiece

SLOW_CLIENT_S = 30.0
"""A client that takes nothing for so long is not served any further; its request is still accounted."""
KEEP_ALIVE_S = 7.5
"""No stream is silent for longer than twice that, 15 s: proxies cut connections that seem dead."""
LONGEST_TOKEN_BYTES = 8
TOOLS, NOTHING_SPECIAL = frozenset({"tools"}), frozenset[str]()
KEEP_ALIVE = b": keep-alive\n\n"
NOT_IN_HEADERS = re.compile(r"[^\x20-\x7e]")
MAX_HEADER_CHARS = 2_000

JSON = (b"content-type", b"application/json")
EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)

FAILED = "ai_request_failed"
"""What an unexpected error is logged as."""


class Checks(Protocol):
    """The side of a dialect that admission needs."""

    def check(self, body: bytes) -> ClientRequest: ...


@dataclass(frozen=True)
class AiParts:
    """What all AI routes share. `new_request_id` mints `req_…` ids."""

    authenticator: Authenticator
    models: ModelNames
    routes: RouteBook
    answer_request: AnswerRequestHandler
    limits: RateLimits
    cache: AnswerCache
    telemetry: RequestTelemetry
    new_request_id: Callable[[], RequestId]


class AiEndpoint:
    """One route: `dialect` checks what it is sent, `errors` is how its clients want to be told."""

    def __init__(self, parts: AiParts, dialect: Checks, errors: ErrorFormat) -> None:
        self._parts = parts
        self._dialect = dialect
        self.errors = errors

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        started_s = time.perf_counter()
        request_id = scope.get(GIVEN) or self._parts.new_request_id()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            caller: Caller = await self._parts.authenticator.admit(headers)
            request = self._dialect.check(await read_body(receive, headers))
            command = self._command(caller, request, request_id, started_s)
            permit = await self._parts.limits.admit(caller, request.model, command)
        except ClientGone:
            return
        except Exception as error:
            await self._refuse(send, request_id, failure_from(error, FAILED))
            return
        policy = self._parts.cache.policy_of(request.model)
        if policy is None:
            await self._serve(command, _Sides(permit, BYPASS), receive, send)
            return
        async with self._parts.cache.turn(request.model, policy, command, headers) as cached:
            await self._serve(cached.applied(command), _Sides(permit, cached), receive, send)

    async def _serve(self, command: AnswerRequest, sides: "_Sides", receive: Receive, send: Send) -> None:
        try:
            running = await self._admitted(command)
        except Exception as error:
            await sides.permit.end(0, 0)
            await self._refuse(send, command.call.request_id, failure_from(error, FAILED), sides.permit.headers)
            return
        try:
            await _Answer(self._parts, self.errors, running, sides, receive, send).run()
        finally:
            end = running.end
            await sides.permit.end(end.tokens.total if end else 0, end.cost_nanos if end else 0)

    def _command(
        self, caller: Caller, request: ClientRequest, request_id: RequestId, started_s: float
    ) -> AnswerRequest:
        now = datetime.now(UTC)
        plan = self._parts.routes.plan(request.model, _ask(request, caller, now))
        first = plan.candidates[0]
        model = first.model
        return AnswerRequest(
            call=request.call(request_id, model, first.upstream_model),
            account_id=caller.account_id,
            key_id=caller.key_id,
            user_id=caller.user_id,
            at=now,
            started_s=started_s,
            model=model,
            price=first.price,
            choices=request.choices,
            input_bound=request.input_bound(model),
            route=plan,
        )

    async def _admitted(self, command: AnswerRequest) -> Running:
        try:
            return await self._parts.answer_request.admit(command)
        except UnsupportedParameter as refused:
            raise self._parts.models.with_remedy(refused, command.call.endpoint) from None

    async def _refuse(
        self, send: Send, request_id: RequestId, failure: Failure, told: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        answer = self.errors.whole(failure, request_id)
        self._parts.telemetry.refused(answer.status)
        headers = [*answer.raw_headers, (b"x-request-id", request_id.encode()), *told]
        await send_whole(send, answer.status, headers, answer.body)


@dataclass(frozen=True)
class _Sides:
    """What stands beside a request: its place within the limits, and what the cache has to do with it."""

    permit: Permit
    cached: CacheTurn


class _Answer:
    """One admitted request's way back to the client."""

    def __init__(
        self, parts: AiParts, errors: ErrorFormat, running: Running, sides: _Sides, receive: Receive, send: Send
    ) -> None:
        self._sides = sides
        self._handler = parts.answer_request
        self._telemetry = parts.telemetry
        self._errors = errors
        self._running = running
        self._receive = receive
        self._send = send
        self._slow = SlowClient(SLOW_CLIENT_S)
        self._alive: KeepAlive | None = None
        self._started = False

    async def run(self) -> None:
        try:
            await (self._stream() if self._running.command.call.stream else self._whole())
        except Exception as error:
            await self._fail(error)
        self._telemetry.ended(self._running)

    async def _whole(self) -> None:
        reply = await self._handler.complete(self._running)
        headers = [JSON, *self._headers(self._running.end_position), *_cost(self._running)]
        await self._give_whole(200, headers, reply.body)
        await self._sides.cached.keep(reply)

    async def _stream(self) -> None:
        watcher = asyncio.create_task(self._watch())
        closing = b""
        try:
            async with self._slow, KeepAlive(KEEP_ALIVE_S, self._say_alive) as self._alive:
                async for piece in self._handler.stream(self._running):
                    closing += piece.closing
                    self._sides.cached.pass_by(piece)
                    await self._pass_on(piece)
                await self._give(_receipt(self._running) + closing, more=False)
                await self._sides.cached.keep(None)
        finally:
            watcher.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._running.client_gone = True

    async def _pass_on(self, piece: ReplyPiece) -> None:
        if piece.data:
            await self._give(piece.data, more=True)

    async def _say_alive(self) -> None:
        """A stream that waits for its first piece begins with this: from then on a failure is an event."""
        if not self._running.client_gone:
            with suppress(OSError):
                await self._say(KEEP_ALIVE, more=True)

    async def _give(self, data: bytes, *, more: bool) -> None:
        if self._running.client_gone:
            return
        if self._alive is not None:
            self._alive.said()
        if not await self._slow.bounded(self._say(data, more=more)):
            self._running.client_gone = True

    async def _say(self, data: bytes, *, more: bool) -> None:
        """The status goes out with the first piece, so that a failure before it has a status of its own."""
        if not self._started:
            self._started = True
            headers = [*EVENT_STREAM, *self._headers(self._running.admitted_position)]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def _give_whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        async with self._slow:
            await self._slow.bounded(send_whole(self._send, status, headers, body))

    async def _fail(self, error: Exception) -> None:
        """Once the stream has begun, an error is an event, and nothing says that all is well."""
        failure, request_id = failure_from(error, FAILED), self._running.command.call.request_id
        if self._started:
            async with self._slow:
                await self._give(self._errors.event(failure, request_id), more=False)
            return
        answer = self._errors.whole(failure, request_id)
        headers = [*answer.raw_headers, *self._headers(self._running.end_position), *_cost(self._running)]
        if self._running.forbids_repeat(error):
            headers.append((b"x-should-retry", b"false"))
        await self._give_whole(answer.status, headers, answer.body)

    def _headers(self, position: int) -> list[tuple[bytes, bytes]]:
        running = self._running
        headers = [
            (b"x-request-id", running.command.call.request_id.encode()),
            (b"x-agg-provider", running.candidate.provider.encode()),
            (b"x-agg-model", _as_header(running.candidate.model.model)),
            (b"x-agg-cache", self._sides.cached.status),
            (b"x-agg-attempts", b"%d" % running.attempts),
            (b"x-agg-position", b"REQ:%d" % position),
            *self._sides.permit.headers,
        ]
        if dropped := self._running.prepared.dropped:
            headers.append((b"x-agg-dropped", _as_header(", ".join(dropped))))
        return headers


def _ask(request: ClientRequest, caller: Caller, at: datetime) -> RouteAsk:
    """A token is hardly ever longer than eight bytes: what is too long by that measure is too long."""
    return RouteAsk(
        endpoint=request.endpoint,
        at=at,
        sizes=request,
        stream=request.stream,
        needs=TOOLS if "tools" in request.members else NOTHING_SPECIAL,
        context_tokens=request.text_bytes // LONGEST_TOKEN_BYTES,
        input_estimate=request.input_estimate(),
        key=caller.key_id or caller.account_id,
        user=_user_in(request),
    )


def _user_in(request: ClientRequest) -> str:
    """Whom the client asks for, still encoded: only sameness matters."""
    return bytes(request.members.get("user", b"")).decode("utf-8", "replace")


def _as_header(said: str) -> bytes:
    """A client's own words: nothing in them may end the header, or make it longer than clients read."""
    return NOT_IN_HEADERS.sub("?", said[:MAX_HEADER_CHARS]).encode()


def _cost(running: Running) -> list[tuple[bytes, bytes]]:
    return [(b"x-agg-cost-usd", usd(running.end.cost_nanos).encode())] if running.end else []


def _receipt(running: Running) -> bytes:
    """What headers cannot say before the end, as comments that clients pass over."""
    cost = usd(running.end.cost_nanos) if running.end else "unknown"
    return f": x-agg-cost-usd: {cost}\n: x-agg-position: REQ:{running.end_position}\n\n".encode()
