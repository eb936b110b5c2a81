"""The AI routes as raw ASGI: the hot path, from bytes to bytes.

The coroutine itself drains the provider. A client that hangs up or stops reading changes nothing about it: the server
does not cancel it, and what the provider reports is charged.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from adapters.dialects.dialect import ClientRequest
from api.ai_answer import FAILED, AiAnswer, Client, Sides
from api.ai_errors import ErrorFormat
from api.answer_cache import BYPASS, AnswerCache, CacheTurn
from api.auth import Authenticator, Caller
from api.body import BodyTooDeep, ClientGone, Receive, read_body
from api.errors import Failure, failure_from
from api.model_names import ModelNames
from api.open_streams import OpenStreams
from api.rate_limits import UNLIMITED, Permit, RateLimits
from api.request_id import GIVEN
from api.send import Send, send_whole
from api.telemetry import RequestTelemetry
from api.while_connected import WhileConnected
from commands.answer_request import AnswerRequest, AnswerRequestHandler, Running
from commands.route_plan import RouteAsk
from commands.route_requests import RouteBook
from domain.errors import UnsupportedParameter
from domain.ids import RequestId

LONGEST_TOKEN_BYTES = 8
TOOLS, NOTHING_SPECIAL = frozenset({"tools"}), frozenset[str]()


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
    streams: OpenStreams
    cache: AnswerCache
    telemetry: RequestTelemetry
    new_request_id: Callable[[], RequestId]


class _Asked(msgspec.Struct):
    """One request, with what it holds and gives back at its end: a permit, a place among its key's streams."""

    request_id: RequestId
    headers: dict[bytes, bytes]
    permit: Permit = UNLIMITED
    streams: OpenStreams | None = None
    streams_key: str = ""
    running: Running | None = None

    def hold_stream(self, streams: OpenStreams, key: str) -> None:
        """Raises Busy."""
        streams.hold(key)
        self.streams, self.streams_key = streams, key

    async def give_back(self) -> None:
        """Once, however often it is called."""
        if self.streams is not None:
            self.streams.give_back(self.streams_key)
            self.streams = None
        permit, self.permit = self.permit, UNLIMITED
        end = self.running.end if self.running else None
        await permit.end(end.tokens.total if end else 0, end.cost_nanos if end else 0)


class AiEndpoint:
    """One route: `dialect` checks what it is sent, `errors` is how its clients want to be told."""

    def __init__(self, parts: AiParts, dialect: Checks, errors: ErrorFormat) -> None:
        self._parts = parts
        self._dialect = dialect
        self.errors = errors

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        started_s = time.perf_counter()
        asked = _Asked(scope.get(GIVEN) or self._parts.new_request_id(), dict(scope["headers"]))
        try:
            await self._serve(asked, started_s, receive, send)
        except ClientGone:
            return
        except Exception as error:
            if asked.running is not None:
                raise
            told = asked.permit.headers
            await asked.give_back()
            await self._refuse(send, asked.request_id, error, told)
        finally:
            await asked.give_back()

    async def _serve(self, asked: _Asked, started_s: float, receive: Receive, send: Send) -> None:
        """Raises what it is refused for while nothing runs, and ClientGone."""
        parts = self._parts
        caller: Caller = await parts.authenticator.admit(asked.headers)
        request = self._dialect.check(await read_body(receive, asked.headers))
        command = self._command(caller, request, asked.request_id, started_s)
        if request.stream:
            asked.hold_stream(parts.streams, caller.key_id or caller.account_id)
        asked.permit = await parts.limits.admit(command)
        client = Client(receive, send, self.errors)
        policy = parts.cache.policy_of(request.model)
        if policy is None:
            await self._answer(asked, command, BYPASS, client)
            return
        async with AsyncExitStack() as turn:
            async with WhileConnected(receive):
                cached = await turn.enter_async_context(parts.cache.turn(request.model, policy, command, asked.headers))
            await self._answer(asked, cached.applied(command), cached, client)

    async def _answer(self, asked: _Asked, command: AnswerRequest, cached: CacheTurn, client: Client) -> None:
        asked.running = await self._admitted(command)
        sides = Sides(asked.permit, cached)
        await AiAnswer(self._parts.answer_request, self._parts.telemetry, asked.running, sides, client).run()

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
        self, send: Send, request_id: RequestId, error: Exception, told: Sequence[tuple[bytes, bytes]]
    ) -> None:
        answer = self.errors.whole(_failure_in(error), request_id)
        self._parts.telemetry.refused(answer.status)
        headers = [*answer.raw_headers, (b"x-request-id", request_id.encode()), *told]
        await send_whole(send, answer.status, headers, answer.body)


def _failure_in(error: Exception) -> Failure:
    """Where all is read at least once before anybody is asked, what is nested too deeply shows itself here."""
    return failure_from(BodyTooDeep() if isinstance(error, RecursionError) else error, FAILED)


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
