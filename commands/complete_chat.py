"""One chat completion: admitted against credit, answered by a provider, ended by exactly one durable fact."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec
import structlog

from commands.credit_leases import CreditLeases, Reservation
from domain.catalog import Model
from domain.chat import ChatCall, ChatReply, ReplyPiece, Usage
from domain.errors import Busy, ProviderBroken, ProviderError, ProviderRefused, Unavailable
from domain.ids import AccountId, KeyId, RequestId, UserId
from domain.ports import ChatProvider, RequestLog
from domain.pricing import Price, Rates, Tokens, ceiling_nanos, cost_nanos
from domain.request import Evidence, RequestAdmitted, RequestCompleted, RequestEnded, RequestFailed

CHARS_PER_TOKEN = 4
"""For estimates only, where a provider reports nothing."""

logger = structlog.get_logger()


class CompleteChat(msgspec.Struct, frozen=True):
    """`input_bound` is more tokens than the input can have; `input_estimate` what it probably has."""

    request_id: RequestId
    account_id: AccountId
    key_id: KeyId | None
    user_id: UserId | None
    at: datetime
    started_s: float
    model: Model
    price: Price
    members: dict[str, msgspec.Raw]
    stream: bool
    include_usage: bool
    choices: int
    max_output_tokens: int
    input_bound: int
    input_estimate: int


class Running(msgspec.Struct):
    """An admitted request until its end. The caller sets `client_gone` when nobody reads the answer any more."""

    command: CompleteChat
    reservation: Reservation
    provider: ChatProvider
    admitted_position: int = 0
    client_gone: bool = False
    upstream_s: float = 0.0
    first_token_s: float | None = None
    delivered_chars: int = 0
    end: RequestEnded | None = None
    end_position: int = 0


class CompleteChatHandler:
    def __init__(
        self,
        leases: CreditLeases,
        requests: RequestLog,
        providers: Mapping[str, ChatProvider],
        clock: Callable[[], datetime],
    ) -> None:
        self._leases = leases
        self._requests = requests
        self._providers = providers
        self._clock = clock
        self._background: set[asyncio.Task[None]] = set()

    async def admit(self, command: CompleteChat) -> Running:
        """Reserve the most it may cost and record the admission. Nothing is sent upstream before that is durable.

        Raises CreditExhausted, UnsupportedParameter, or Unavailable when the log does not answer.
        """
        provider = self._providers[command.model.provider]
        provider.check(command.members)
        reserved = ceiling_nanos(command.input_bound, command.max_output_tokens * command.choices, command.price.rates)
        reservation = self._leases.try_reserve(command.account_id, reserved, command.at)
        if reservation is None:
            reservation = await self._leases.reserve(command.account_id, reserved)
        admitted = _admitted(command, reservation)
        running = Running(command, reservation, provider)
        try:
            running.admitted_position = await self._requests.append(admitted)
        except BaseException as error:
            reservation.release(0)
            if not isinstance(error, Busy):
                self._void(running)
            raise
        return running

    def _void(self, running: Running) -> None:
        """Its admission may be in the log or get there yet; nothing was sent upstream, so it ends at no cost."""
        end = RequestFailed(
            **_dimensions(running, self._clock()),
            cost_nanos=0,
            evidence="none",
            error_kind="not_started",
            message="The admission was not confirmed in time; nothing was sent to the provider.",
        )
        self._record_later(end)

    def _give_up(self, running: Running, usage: Usage | None) -> None:
        """Whoever waited was cancelled or stopped reading: the provider was asked, so it ends with an estimate."""
        tokens, evidence = _measured(running, usage)
        running.end = RequestFailed(
            **_dimensions(running, self._clock()),
            **_cost(running, tokens, evidence, usage),
            upstream_model=running.command.model.upstream_model,
            error_kind="given_up",
            message="The call was given up before the provider's answer ended.",
        )
        running.reservation.release(running.end.cost_nanos)
        self._record_later(running.end)

    def _record_later(self, end: RequestEnded) -> None:
        task = asyncio.create_task(self._append_quietly(end))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _append_quietly(self, end: RequestEnded) -> None:
        with suppress(Unavailable):
            await self._requests.append(end)

    async def complete(self, running: Running) -> ChatReply:
        """The whole answer, once its charge is durable. Raises the ProviderError family, likewise recorded."""
        sent_s = time.perf_counter()
        try:
            reply = await running.provider.complete(_call(running.command))
        except Exception as error:
            raise await self._fail(running, error, None) from error
        except BaseException:
            self._give_up(running, None)
            raise
        running.upstream_s = time.perf_counter() - sent_s
        running.delivered_chars = reply.output_chars
        await self._end(running, _completed(running, reply.model, reply.finish_reason, reply.usage, self._clock()))
        return reply

    async def stream(self, running: Running) -> AsyncIterator[ReplyPiece]:
        """Pieces as they come. The iterator ends only once the charge is durable; read it to its end in any case."""
        sent_s = time.perf_counter()
        usage: Usage | None = None
        model, finish_reason = "", "stop"
        try:
            async for piece in running.provider.stream(_call(running.command)):
                if running.first_token_s is None and piece.output_chars:
                    running.first_token_s = time.perf_counter()
                running.delivered_chars += piece.output_chars
                usage = piece.usage or usage
                model = piece.model or model
                finish_reason = piece.finish_reason or finish_reason
                yield piece
        except Exception as error:
            raise await self._fail(running, error, usage) from error
        except BaseException:
            self._give_up(running, usage)
            raise
        running.upstream_s = time.perf_counter() - sent_s
        await self._end(running, _completed(running, model, finish_reason, usage, self._clock()))

    async def _fail(self, running: Running, error: Exception, usage: Usage | None) -> ProviderError:
        """Record the failed end; the error to raise. What an adapter did not foresee is a broken answer."""
        if not isinstance(error, ProviderError):
            logger.exception("provider_adapter_failed", provider=running.provider.name)
            error = ProviderBroken(running.provider.name, "The provider's answer could not be understood.")
        await self._end(running, _failed(running, error, usage, self._clock()))
        return error

    async def _end(self, running: Running, end: RequestEnded) -> None:
        running.end = end
        try:
            running.end_position = await self._requests.append(end)
        finally:
            running.reservation.release(end.cost_nanos)


def _call(command: CompleteChat) -> ChatCall:
    return ChatCall(
        request_id=command.request_id,
        upstream_model=command.model.upstream_model,
        members=command.members,
        stream=command.stream,
        include_usage=command.include_usage,
        input_estimate=command.input_estimate,
        max_output_tokens=command.max_output_tokens,
    )


def _admitted(command: CompleteChat, reservation: Reservation) -> RequestAdmitted:
    return RequestAdmitted(
        request_id=command.request_id,
        account_id=command.account_id,
        at=command.at,
        lease_id=reservation.lease_id,
        model=command.model.model,
        provider=command.model.provider,
        price_id=command.price.price_id,
        key_id=command.key_id,
        user_id=command.user_id,
        stream=command.stream,
        endpoint="chat.completions",
        upstream_model=command.model.upstream_model,
        reserved_nanos=reservation.amount_nanos,
        input_estimate=command.input_estimate,
        input_estimate_nanos=cost_nanos(Tokens(input=command.input_estimate), command.price.rates),
    )


def _completed(running: Running, model: str, finish_reason: str, usage: Usage | None, at: datetime) -> RequestCompleted:
    tokens, evidence = _measured(running, usage)
    return RequestCompleted(
        **_dimensions(running, at),
        **_cost(running, tokens, evidence, usage),
        upstream_model=model,
        finish_reason=finish_reason,
    )


def _failed(running: Running, error: ProviderError, usage: Usage | None, at: datetime) -> RequestFailed:
    """What reached the client before is charged; an answer of which nothing came is not."""
    tokens, evidence = Tokens(), "none"
    if usage is not None or running.delivered_chars:
        tokens, evidence = _measured(running, usage)
    return RequestFailed(
        **_dimensions(running, at),
        **_cost(running, tokens, evidence, usage),
        upstream_model=running.command.model.upstream_model,
        error_kind=error.kind,
        message=str(error),
        upstream_status=error.status if isinstance(error, ProviderRefused) else None,
    )


def _measured(running: Running, usage: Usage | None) -> tuple[Tokens, Evidence]:
    """What the provider reports, also if that is zero; else an estimate, never zero."""
    if usage is not None:
        return usage.tokens, "reported"
    output = max(1, -(-running.delivered_chars // CHARS_PER_TOKEN))
    return Tokens(input=running.command.input_estimate, output=output), "estimated"


def _cost(running: Running, tokens: Tokens, evidence: Evidence, usage: Usage | None) -> dict[str, Any]:
    """An estimate never exceeds the reservation; what a provider reports is charged as reported."""
    rates: Rates = running.command.price.rates
    cost = cost_nanos(tokens, rates)
    if evidence == "estimated":
        cost = min(cost, running.reservation.amount_nanos)
    raw = usage.raw if usage else msgspec.Raw(b"null")
    return {"cost_nanos": cost, "evidence": evidence, "tokens": tokens, "usage": raw}


def _dimensions(running: Running, at: datetime) -> dict[str, Any]:
    command = running.command
    now_s = time.perf_counter()
    first = running.first_token_s
    return {
        "request_id": command.request_id,
        "account_id": command.account_id,
        "at": at,
        "lease_id": running.reservation.lease_id,
        "model": command.model.model,
        "provider": command.model.provider,
        "price_id": command.price.price_id,
        "key_id": command.key_id,
        "user_id": command.user_id,
        "stream": command.stream,
        "duration_ms": round((now_s - command.started_s) * 1000),
        "first_token_ms": None if first is None else round((first - command.started_s) * 1000),
        "client_gone": running.client_gone,
    }
