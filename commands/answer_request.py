"""One AI request: admitted against credit, answered by a provider, ended by exactly one durable fact."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from datetime import datetime

from commands import request_facts
from commands.asking import close
from commands.attempts import RoutedCall
from commands.credit_leases import CreditLeases, Reservation
from commands.failover import Desk, Failover, bare, broken
from commands.route_plan import Candidate
from commands.running import AnswerRequest, Running
from domain.errors import (
    AggregatorError,
    Busy,
    CreditExhausted,
    ProviderError,
    Unavailable,
    UnsupportedParameter,
)
from domain.ports import PreparedCall, Provider, RequestLog
from domain.request import RequestEnded, RequestEvent
from domain.upstream import Reply, ReplyPiece, Usage

__all__ = ["AnswerRequest", "AnswerRequestHandler", "Running"]


class AnswerRequestHandler:
    """Without `failover` only plain models are served."""

    def __init__(
        self,
        leases: CreditLeases,
        requests: RequestLog,
        providers: Mapping[str, Provider],
        clock: Callable[[], datetime],
        unpriced_nanos: int,
        failover: Failover | None = None,
    ) -> None:
        self._leases = leases
        self._requests = requests
        self._providers = providers
        self._clock = clock
        self._unpriced_nanos = unpriced_nanos
        self._desk = failover and Desk(failover, providers, leases, clock, unpriced_nanos, self._record_later)
        self._background: set[asyncio.Task[None]] = set()

    async def admit(self, command: AnswerRequest) -> Running:
        """Reserve the most it may cost and record the admission. Nothing is sent upstream before that is durable.

        Raises CreditExhausted, InvalidInput, or Unavailable when the log does not answer.
        """
        candidate, prepared = self._prepared(command)
        ceiling_nanos = command.ceiling_nanos(candidate, self._unpriced_nanos)
        reservation = self._at_hand(command, ceiling_nanos) or await self._reserve(command, ceiling_nanos)
        running = Running(command, reservation, prepared, candidate, ceiling_nanos)
        try:
            admitted = request_facts.admitted(command, running)
        except BaseException:
            running.release(0)
            raise
        try:
            running.admitted_position = await self._requests.append(admitted)
        except BaseException as error:
            running.release(0)
            if not isinstance(error, Busy):
                self._record_later(request_facts.not_started(running, self._clock()))
            raise
        return running

    def _prepared(self, command: AnswerRequest) -> tuple[Candidate, PreparedCall]:
        """For the first who can do what is asked; what nobody can is refused in the first one's words."""
        routed = command.routed
        if routed is None:
            return command.alone(), self._providers[command.model.provider].prepare(command.call)
        refusal: UnsupportedParameter | None = None
        for candidate in routed.candidates:
            try:
                return candidate, self._providers[candidate.connection].prepare(command.call_of(candidate))
            except UnsupportedParameter as refused:
                refusal = refusal or refused
        raise refusal or Unavailable("No deployment of this model can take a request now.")

    def _at_hand(self, command: AnswerRequest, ceiling_nanos: int) -> Reservation | None:
        """For the dearest candidate, so that it may be the next, where the lease that is here bears it."""
        if command.routed is not None:
            ceiling_nanos = command.dearest_nanos(self._unpriced_nanos)
        return self._leases.try_reserve(command.account_id, ceiling_nanos, command.at)

    async def _reserve(self, command: AnswerRequest, ceiling_nanos: int) -> Reservation:
        """For the dearest candidate that the credit can bear; at least `ceiling_nanos`."""
        if command.routed is not None:
            ceilings = {command.ceiling_nanos(each, self._unpriced_nanos) for each in command.routed.candidates}
            bearable: int | None = None
            for dearest in sorted(ceilings, reverse=True):
                if dearest > ceiling_nanos and (bearable is None or dearest <= bearable):
                    try:
                        return await self._leases.reserve(command.account_id, dearest)
                    except CreditExhausted as refused:
                        bearable = refused.available_nanos + refused.elsewhere_nanos
        return await self._leases.reserve(command.account_id, ceiling_nanos)

    def _give_up(self, running: Running, usage: Usage | None, *, is_final: bool) -> None:
        """Whoever waited was cancelled or stopped reading."""
        cost_nanos = 0
        try:
            running.end = end = request_facts.given_up(running, usage, self._clock(), is_final=is_final)
            cost_nanos = end.cost_nanos
        finally:
            running.release(cost_nanos)
        self._record_later(end)

    def _record_later(self, event: RequestEvent) -> None:
        task = asyncio.create_task(self._append_quietly(event))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _append_quietly(self, event: RequestEvent) -> None:
        with suppress(Unavailable):
            await self._requests.append(event)

    async def aclose(self) -> None:
        """Wait until what was left to be recorded is, or the log gave it up. Nothing may run any more."""
        while self._background:
            await asyncio.wait(self._background)

    def _call(self, running: Running) -> PreparedCall | RoutedCall:
        if running.command.routed is None:
            return running.prepared
        assert self._desk is not None, "routes need failover"
        return RoutedCall(self._desk, running)

    async def complete(self, running: Running) -> Reply:
        """The whole answer, once its charge is durable. Raises the ProviderError family, likewise recorded; of a route
        also what speaks against all of its deployments."""
        sent_s = time.perf_counter()
        try:
            reply = await self._call(running).complete()
        except Exception as error:
            raise await self._fail(running, error, None, is_final=False) from None
        except BaseException:
            self._give_up(running, None, is_final=False)
            raise
        running.upstream_s = time.perf_counter() - sent_s
        running.delivered_chars = reply.output_chars
        await self._end(
            running,
            lambda at: request_facts.completed(running, reply.model, reply.finish_reason, reply.usage, at),
        )
        return reply

    async def stream(self, running: Running) -> AsyncGenerator[ReplyPiece]:
        """Pieces as they come. The iterator ends only once the charge is durable; read it to its end in any case."""
        sent_s = time.perf_counter()
        usage: Usage | None = None
        model, finish_reason = "", ""
        try:
            pieces = self._call(running).stream()
            try:
                async for piece in pieces:
                    if running.first_token_s is None and piece.output_chars:
                        running.first_token_s = time.perf_counter()
                    running.delivered_chars += piece.output_chars
                    usage = piece.usage or usage
                    model = piece.model or model
                    finish_reason = piece.finish_reason or finish_reason
                    yield piece
            finally:
                await close(pieces)
        except Exception as error:
            raise await self._fail(running, error, usage, is_final=bool(finish_reason)) from None
        except BaseException:
            self._give_up(running, usage, is_final=bool(finish_reason))
            raise
        running.upstream_s = time.perf_counter() - sent_s
        model, reason = model or running.candidate.upstream_model, finish_reason or "stop"
        await self._end(running, lambda at: request_facts.completed(running, model, reason, usage, at))

    async def _fail(
        self, running: Running, error: Exception, usage: Usage | None, *, is_final: bool
    ) -> AggregatorError:
        """Record the failed end; the error to raise."""
        gave_up = running.gave_up
        if gave_up is not None and error is gave_up.error:
            said = gave_up.error
        elif isinstance(error, ProviderError):
            said = error
        else:
            said = broken(error, running.candidate.provider)
        await self._end(running, lambda at: request_facts.failed(running, said, usage, at, is_final=is_final))
        return bare(said)

    async def _end(self, running: Running, told: Callable[[datetime], RequestEnded]) -> None:
        """Nothing stays reserved, be it that the end cannot even be told."""
        cost_nanos = 0
        try:
            running.end = end = told(self._clock())
            cost_nanos = end.cost_nanos
            running.end_position = await self._requests.append(end)
        finally:
            running.release(cost_nanos)
