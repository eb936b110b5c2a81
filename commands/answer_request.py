"""One AI request: admitted against credit, answered by a provider, ended by exactly one durable fact."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec
import structlog

from commands import provider_words
from commands.credit_leases import CreditLeases, Reservation
from domain.catalog import Model
from domain.errors import Busy, ProviderBroken, ProviderError, ProviderRefused, Unavailable
from domain.ids import AccountId, KeyId, UserId
from domain.ports import PreparedCall, Provider, RequestLog
from domain.pricing import Price, Tokens, ceiling_nanos, cost_nanos
from domain.request import UNPRICED, Evidence, RequestAdmitted, RequestCompleted, RequestEnded, RequestFailed
from domain.upstream import ProviderCall, Reply, ReplyPiece, Usage

CHARS_PER_TOKEN = 4
"""For estimates only, where a provider reports nothing."""

logger = structlog.get_logger()


class AnswerRequest(msgspec.Struct, frozen=True):
    """`input_bound` is more tokens than the input can have; of `choices` each has at most `call.max_output_tokens`.
    No `price`: the use is held and charged at the handler's `unpriced_nanos` until there is one."""

    call: ProviderCall
    account_id: AccountId
    key_id: KeyId | None
    user_id: UserId | None
    at: datetime
    started_s: float
    model: Model
    price: Price | None
    choices: int
    input_bound: int


class Running(msgspec.Struct):
    """An admitted request until its end. The caller sets `client_gone` when nobody reads the answer any more."""

    command: AnswerRequest
    reservation: Reservation
    prepared: PreparedCall
    admitted_position: int = 0
    client_gone: bool = False
    upstream_s: float = 0.0
    first_token_s: float | None = None
    delivered_chars: int = 0
    end: RequestEnded | None = None
    end_position: int = 0


class AnswerRequestHandler:
    def __init__(
        self,
        leases: CreditLeases,
        requests: RequestLog,
        providers: Mapping[str, Provider],
        clock: Callable[[], datetime],
        unpriced_nanos: int,
    ) -> None:
        self._leases = leases
        self._requests = requests
        self._providers = providers
        self._clock = clock
        self._unpriced_nanos = unpriced_nanos
        self._background: set[asyncio.Task[None]] = set()

    async def admit(self, command: AnswerRequest) -> Running:
        """Reserve the most it may cost and record the admission. Nothing is sent upstream before that is durable.

        Raises CreditExhausted, InvalidInput, or Unavailable when the log does not answer.
        """
        prepared = self._providers[command.model.provider].prepare(command.call)
        reserved = self._ceiling_nanos(command)
        reservation = self._leases.try_reserve(command.account_id, reserved, command.at)
        if reservation is None:
            reservation = await self._leases.reserve(command.account_id, reserved)
        admitted = _admitted(command, reservation)
        running = Running(command, reservation, prepared)
        try:
            running.admitted_position = await self._requests.append(admitted)
        except BaseException as error:
            reservation.release(0)
            if not isinstance(error, Busy):
                self._void(running)
            raise
        return running

    def _ceiling_nanos(self, command: AnswerRequest) -> int:
        if command.price is None:
            return self._unpriced_nanos
        output_bound = command.call.max_output_tokens * command.choices
        return ceiling_nanos(command.input_bound, output_bound, command.price.rates)

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

    def _give_up(self, running: Running, usage: Usage | None, *, is_final: bool) -> None:
        """Whoever waited was cancelled or stopped reading: the provider was asked, so it ends with an estimate."""
        tokens, evidence = _measured(running, usage, is_final=is_final)
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

    async def complete(self, running: Running) -> Reply:
        """The whole answer, once its charge is durable. Raises the ProviderError family, likewise recorded."""
        sent_s = time.perf_counter()
        try:
            reply = await running.prepared.complete()
        except Exception as error:
            raise await self._fail(running, error, None, is_final=False) from error
        except BaseException:
            self._give_up(running, None, is_final=False)
            raise
        running.upstream_s = time.perf_counter() - sent_s
        running.delivered_chars = reply.output_chars
        await self._end(running, _completed(running, reply.model, reply.finish_reason, reply.usage, self._clock()))
        return reply

    async def stream(self, running: Running) -> AsyncIterator[ReplyPiece]:
        """Pieces as they come. The iterator ends only once the charge is durable; read it to its end in any case."""
        sent_s = time.perf_counter()
        usage: Usage | None = None
        model, finish_reason = "", ""
        try:
            async for piece in running.prepared.stream():
                if running.first_token_s is None and piece.output_chars:
                    running.first_token_s = time.perf_counter()
                running.delivered_chars += piece.output_chars
                usage = piece.usage or usage
                model = piece.model or model
                finish_reason = piece.finish_reason or finish_reason
                yield piece
        except Exception as error:
            raise await self._fail(running, error, usage, is_final=bool(finish_reason)) from error
        except BaseException:
            self._give_up(running, usage, is_final=bool(finish_reason))
            raise
        running.upstream_s = time.perf_counter() - sent_s
        model = model or running.command.call.upstream_model
        await self._end(running, _completed(running, model, finish_reason or "stop", usage, self._clock()))

    async def _fail(self, running: Running, error: Exception, usage: Usage | None, *, is_final: bool) -> ProviderError:
        """Record the failed end; the error to raise. What an adapter did not foresee is a broken answer."""
        if not isinstance(error, ProviderError):
            logger.exception("provider_adapter_failed", provider=running.command.model.provider)
            error = ProviderBroken(running.command.model.provider, "The provider's answer could not be understood.")
        await self._end(running, _failed(running, error, usage, self._clock(), is_final=is_final))
        return error

    async def _end(self, running: Running, end: RequestEnded) -> None:
        running.end = end
        try:
            running.end_position = await self._requests.append(end)
        finally:
            running.reservation.release(end.cost_nanos)


def _admitted(command: AnswerRequest, reservation: Reservation) -> RequestAdmitted:
    call, price = command.call, command.price
    estimate_nanos = reservation.amount_nanos
    if price is not None:
        estimate_nanos = cost_nanos(Tokens(input=call.input_estimate), price.rates)
    return RequestAdmitted(
        request_id=call.request_id,
        account_id=command.account_id,
        at=command.at,
        lease_id=reservation.lease_id,
        model=command.model.model,
        provider=command.model.provider,
        price_id=price.price_id if price else UNPRICED,
        key_id=command.key_id,
        user_id=command.user_id,
        stream=call.stream,
        endpoint=call.endpoint,
        upstream_model=call.upstream_model,
        reserved_nanos=reservation.amount_nanos,
        input_estimate=call.input_estimate,
        input_estimate_nanos=estimate_nanos,
    )


def _completed(running: Running, model: str, finish_reason: str, usage: Usage | None, at: datetime) -> RequestCompleted:
    tokens, evidence = _measured(running, usage)
    return RequestCompleted(
        **_dimensions(running, at),
        **_cost(running, tokens, evidence, usage),
        upstream_model=provider_words.name(model),
        finish_reason=provider_words.name(finish_reason),
    )


def _failed(
    running: Running, error: ProviderError, usage: Usage | None, at: datetime, *, is_final: bool
) -> RequestFailed:
    """What reached the client before is charged; an answer of which nothing came is not."""
    tokens, evidence = Tokens(), "none"
    if usage is not None or running.delivered_chars:
        tokens, evidence = _measured(running, usage, is_final=is_final)
    return RequestFailed(
        **_dimensions(running, at),
        **_cost(running, tokens, evidence, usage),
        upstream_model=running.command.model.upstream_model,
        error_kind=error.kind,
        message=provider_words.message(str(error)),
        upstream_status=error.status if isinstance(error, ProviderRefused) else None,
    )


def _measured(running: Running, usage: Usage | None, *, is_final: bool = True) -> tuple[Tokens, Evidence]:
    """What the provider reports, also if that is zero; else an estimate, never zero.

    A report that came before the answer's finish (not `is_final`) is made up for what was delivered since; so is one
    of output without any input, for no prompt is empty.
    """
    call = running.command.call
    output = max(1, -(-running.delivered_chars // CHARS_PER_TOKEN)) if call.max_output_tokens else 0
    if usage is None:
        return Tokens(input=call.input_estimate, output=output), "estimated"
    tokens = usage.tokens
    if not is_final and tokens.completion < output:
        tokens = msgspec.structs.replace(tokens, output=output - tokens.completion + tokens.output)
    if tokens.completion and not tokens.prompt:
        tokens = msgspec.structs.replace(tokens, input=call.input_estimate)
    return tokens, "reported" if tokens == usage.tokens else "estimated"


def _cost(running: Running, tokens: Tokens, evidence: Evidence, usage: Usage | None) -> dict[str, Any]:
    """An estimate never exceeds the reservation; what a provider reports is charged as reported. Use without a price
    is charged what is held for it."""
    price, held = running.command.price, running.reservation.amount_nanos
    if price is None:
        cost = 0 if evidence == "none" else held
    else:
        cost = cost_nanos(tokens, price.rates)
        if evidence == "estimated":
            cost = min(cost, held)
    return {
        "cost_nanos": cost,
        "evidence": evidence,
        "tokens": tokens,
        "usage": provider_words.report(usage),
    }


def _dimensions(running: Running, at: datetime) -> dict[str, Any]:
    command = running.command
    now_s = time.perf_counter()
    first = running.first_token_s
    return {
        "request_id": command.call.request_id,
        "account_id": command.account_id,
        "at": at,
        "lease_id": running.reservation.lease_id,
        "model": command.model.model,
        "provider": command.model.provider,
        "price_id": command.price.price_id if command.price else UNPRICED,
        "key_id": command.key_id,
        "user_id": command.user_id,
        "stream": command.call.stream,
        "duration_ms": round((now_s - command.started_s) * 1000),
        "first_token_ms": None if first is None else round((first - command.started_s) * 1000),
        "client_gone": running.client_gone,
    }
