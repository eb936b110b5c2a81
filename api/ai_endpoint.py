"""The AI routes as raw ASGI: the hot path, from bytes to bytes.

The coroutine itself drains the provider. A client that hangs up or stops reading changes nothing about it: the server
does not cancel it, and what the provider reports is charged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from adapters.dialects.dialect import ClientRequest
from api.ai_answer import FAILED, AiAnswer
from api.ai_errors import ErrorFormat
from api.answer_cache import AnswerCache, Came
from api.asked import Asked, Client
from api.auth import Authenticator
from api.body import BodyTooDeep, ClientGone, Receive, read_body
from api.errors import Failure, failure_from
from api.given_again import GivenAgain
from api.model_names import ModelNames
from api.open_streams import OpenStreams
from api.rate_limits import Limited, RateLimits
from api.request_id import GIVEN
from api.send import Send, send_whole
from api.telemetry import RequestTelemetry
from api.while_connected import WhileConnected
from commands.answer_request import AnswerRequest, AnswerRequestHandler, Running
from commands.route_plan import RouteAsk, RoutePlan
from commands.route_requests import RouteBook
from domain.errors import UnsupportedParameter
from domain.ids import RequestId
from domain.limits import Demand

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
    given_again: GivenAgain
    limits: RateLimits
    streams: OpenStreams
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
        request_id = scope.get(GIVEN) or self._parts.new_request_id()
        asked = Asked(request_id, Client(receive, send, self.errors))
        held = asked.held
        try:
            await self._serve(asked, dict(scope["headers"]))
        except ClientGone:
            return
        except Exception as error:
            if held.running is not None:
                raise
            held.give_back()
            await self._refuse(send, request_id, error, held.limit_headers)
        finally:
            held.give_back()

    async def _serve(self, asked: Asked, headers: dict[bytes, bytes]) -> None:
        """Raises what it is refused for while nothing runs, and ClientGone. A look into the cache is on its way while
        the limits are asked."""
        parts, held, receive = self._parts, asked.held, asked.client.receive
        caller = asked.caller = await parts.authenticator.admit(headers)
        body = await read_body(receive, headers)
        request = asked.request = self._dialect.check(body)
        asked.at = datetime.now(UTC)
        self._look_up(asked)
        asked.demanded = asked.bounds
        if request.stream:
            held.hold_stream(parts.streams, caller.key_id or caller.account_id)
        turn = held.turn = parts.cache.turn(caller, request, Came(asked.request_id, headers, body))
        held.hold(await parts.limits.admit(_limited(asked), _demand(asked)))
        if not await turn.is_clear():
            async with WhileConnected(receive):
                await turn.wait()
            self._look_up(asked)
        if turn.answer is None or turn.policy is None:
            await self._answer(asked)
        else:
            await parts.given_again.give(asked, turn.answer, turn.policy)

    def _look_up(self, asked: Asked) -> None:
        """As the catalogue is now. Raises ModelNotFound and InvalidInput."""
        request = asked.request
        asked.resolved = self._parts.routes.resolve(request.model, request.endpoint, asked.at)
        asked.bounds = asked.resolved.bounds(request, request.choices, self._parts.limits.unpriced_nanos)

    async def _answer(self, asked: Asked) -> None:
        running = asked.held.running = await self._admitted(await self._planned(asked))
        await AiAnswer(self._parts.answer_request, self._parts.telemetry, running, asked.held, asked.client).run()

    async def _planned(self, asked: Asked) -> AnswerRequest:
        request, caller = asked.request, asked.caller
        plan = self._parts.routes.plan(asked.resolved, _ask(asked), asked.bounds)
        first = plan.candidates[0]
        model = first.model
        if len(plan.trail) > 1 or asked.bounds is not asked.demanded:
            await self._hold_further(asked, plan)
        return AnswerRequest(
            call=request.call(asked.request_id, model, first.upstream_model),
            account_id=caller.account_id,
            key_id=caller.key_id,
            user_id=caller.user_id,
            at=asked.at,
            started_s=asked.started_s,
            model=model,
            price=first.price,
            choices=request.choices,
            input_bound=request.input_bound(model),
            route=plan,
        )

    async def _hold_further(self, asked: Asked, plan: RoutePlan) -> None:
        """Nobody whom the limits were asked for can take it, or others can by now, and there it may use more."""
        request, demanded = asked.request, asked.demanded
        output_tokens = max(request.max_output_tokens(each.model) for each in plan.candidates)
        more_tokens = max(0, output_tokens - demanded.output_tokens) * request.choices
        more_nanos = max(0, plan.dearest_nanos - demanded.dearest_nanos)
        if more_tokens or more_nanos:
            demand = Demand(RequestId(f"{asked.request_id}/further"), more_tokens, more_nanos)
            asked.held.hold_further(await self._parts.limits.admit_further(_limited(asked), demand))

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


def _limited(asked: Asked) -> Limited:
    return Limited(asked.caller.account_id, asked.caller.key_id, asked.resolved.name)


def _demand(asked: Asked) -> Demand:
    """Tokens are held by estimate, spend by its ceiling."""
    request, bounds = asked.request, asked.bounds
    tokens = request.input_estimate() + bounds.output_tokens * request.choices
    return Demand(asked.request_id, tokens, bounds.dearest_nanos)


def _ask(asked: Asked) -> RouteAsk:
    """A token is hardly ever longer than eight bytes: what is too long by that measure is too long."""
    request, caller = asked.request, asked.caller
    return RouteAsk(
        endpoint=request.endpoint,
        at=asked.at,
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
