"""One admitted AI request's way back to the client, as a whole answer or as a stream."""

import asyncio
from contextlib import aclosing, suppress

import structlog

from api.answer_headers import EVENT_STREAM, JSON, answer_headers, cost_header, dropped_header, receipt
from api.asked import Client
from api.drain import Stopped
from api.errors import failure_from
from api.held import Held
from api.keep_alive import KeepAlive
from api.send import send_whole
from api.slow_client import SLOW_CLIENT_S, is_taken
from api.telemetry import RequestTelemetry
from commands.answer_request import AnswerRequestHandler, Running
from domain.money import usd
from domain.upstream import Reply, ReplyPiece

KEEP_ALIVE_S = 7.5
"""No stream is silent for longer than twice that, 15 s: proxies cut connections that seem dead."""
KEEP_ALIVE = b": keep-alive\n\n"

FAILED = "ai_request_failed"
"""What an unexpected error is logged as."""

logger = structlog.get_logger()


class AiAnswer:
    """Who cancels it, ends it: what was used is charged, and the client is told that there is no more."""

    def __init__(
        self,
        handler: AnswerRequestHandler,
        telemetry: RequestTelemetry,
        running: Running,
        held: Held,
        client: Client,
    ) -> None:
        self._held = held
        self._handler = handler
        self._telemetry = telemetry
        self._errors = client.errors
        self._running = running
        self._receive = client.receive
        self._send = client.send
        self._alive: KeepAlive | None = None
        self._started = False
        self._is_told = False

    async def run(self) -> None:
        try:
            await (self._stream() if self._running.command.call.stream else self._whole())
        except Exception as error:
            if self._is_told:
                logger.error(FAILED, exc_info=error)
            else:
                await self._fail(error)
            error.with_traceback(None)  # what runs remembers it, and it would remember what runs
        except asyncio.CancelledError:
            if self._is_told or (task := asyncio.current_task()) is None:
                raise
            task.uncancel()
            await self._fail(Stopped())
        finally:
            self._telemetry.ended(self._running)

    async def _whole(self) -> None:
        reply = await self._handler.complete(self._running)
        self._settle(reply)
        headers = [JSON, *self._headers(self._running.end_position), *_cost(self._running)]
        await self._give_whole(200, headers, reply.body)

    def _settle(self, reply: Reply | None) -> None:
        """It went well. Whatever comes of keeping it, it is charged, and is given."""
        try:
            self._held.turn.keep(reply, self._running)
        except Exception as error:
            logger.error("answer_not_kept", exc_info=error)
        self._held.count_end()

    async def _stream(self) -> None:
        watcher = asyncio.create_task(self._watch())
        closing = b""
        try:
            async with KeepAlive(KEEP_ALIVE_S, self._say_alive) as self._alive:
                async with aclosing(self._handler.stream(self._running)) as pieces:
                    async for piece in pieces:
                        closing += piece.closing
                        self._held.turn.pass_by(piece)
                        await self._pass_on(piece)
                self._settle(None)
                self._is_told = True
                await self._give(_receipt(self._running) + closing, more=False)
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
        if not await is_taken(self._say(data, more=more), SLOW_CLIENT_S):
            self._running.client_gone = True

    async def _say(self, data: bytes, *, more: bool) -> None:
        """The status goes out with the first piece, so that a failure before it has a status of its own."""
        if not self._started:
            self._started = True
            headers = [*EVENT_STREAM, *self._headers(self._running.admitted_position)]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def _give_whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._is_told = True
        await is_taken(send_whole(self._send, status, headers, body), SLOW_CLIENT_S)

    async def _fail(self, error: Exception) -> None:
        """Once the stream has begun, an error is an event, and nothing says that all is well."""
        self._held.count_end()
        failure, request_id = failure_from(error, FAILED), self._running.command.call.request_id
        if self._started:
            await self._give(self._errors.event(failure, request_id), more=False)
            return
        answer = self._errors.whole(failure, request_id)
        headers = [*answer.raw_headers, *self._headers(self._running.end_position), *_cost(self._running)]
        if self._running.forbids_repeat(error):
            headers.append((b"x-should-retry", b"false"))
        await self._give_whole(answer.status, headers, answer.body)

    def _headers(self, position: int) -> list[tuple[bytes, bytes]]:
        running = self._running
        by = running.candidate
        answered_by = by.provider, by.model.model
        headers = answer_headers(running.command.call.request_id, answered_by, running.attempts, position, self._held)
        if dropped := running.prepared.dropped:
            headers.append(dropped_header(dropped))
        return headers


def _cost(running: Running) -> list[tuple[bytes, bytes]]:
    return [cost_header(usd(running.end.cost_nanos))] if running.end else []


def _receipt(running: Running) -> bytes:
    return receipt(usd(running.end.cost_nanos) if running.end else "unknown", running.end_position)
