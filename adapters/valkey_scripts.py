"""Lua scripts on Valkey. Calls that come while one batch is under way go out together as the next one, in the order in
which they were made, over one connection for all who share it.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, cast

import msgspec
import structlog
from hiredis import ReplyError, pack_command
from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.valkey_wire import Wire, open_wire

MAX_BATCH = 256
MAX_BATCH_BYTES = 1 << 20
MAX_WAITING = 10_000
MAX_WAITING_BYTES = 64 << 20
TIMEOUT_S = 0.05
"""For a batch, connecting included. A call waits for the batches before its own as well."""
CLOSE_S = 2.0

Arguments = Sequence[bytes | str | int]


class ValkeyAway(Exception):
    """No answer in time, or a failure. What was asked may have been done."""


PENDING = object()
"""Instead of an answer, until there is one."""
NOT_KNOWN = "NOSCRIPT"
NOT_SERVING = ("READONLY", "LOADING", "MASTERDOWN")

logger = structlog.get_logger()


class Script:
    """It must not mind to be called twice with the same arguments."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    def packed(self, keys: Sequence[bytes | str], arguments: Arguments) -> bytes:
        """The command that calls it."""
        return _packed("EVALSHA", self.sha, len(keys), *keys, *arguments)

    def packed_load(self) -> bytes:
        return _packed("SCRIPT", "LOAD", self.source)


class ScriptCall(msgspec.Struct, eq=False):
    """On its way already. Await it for the answer, or ValkeyAway; nobody needs to. Whoever is cancelled while waiting
    takes nothing back. One may wait, and one may listen."""

    loop: asyncio.AbstractEventLoop
    script: Script
    packed: bytes
    answer: Any = PENDING
    waiter: asyncio.Future[None] | None = None
    heard: Callable[[Any], None] | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        if self.answer is PENDING:
            self.waiter = self.loop.create_future()
            yield from self.waiter
        if isinstance(self.answer, ValkeyAway):
            raise self.answer
        return self.answer

    def then(self, heard: Callable[[Any], None]) -> None:
        """Tell it the answer, or the ValkeyAway, as soon as it is there; now if it is."""
        self.heard = heard
        if self.answer is not PENDING:
            self._tell(heard)

    def settle(self, answer: object) -> None:
        self.answer = answer
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        if self.heard is not None:
            self._tell(self.heard)

    def _tell(self, heard: Callable[[Any], None]) -> None:
        """Others of the batch have yet to be told, whatever this one does."""
        try:
            heard(self.answer)
        except Exception:
            logger.exception("script_answer_failed")


class _Batch(msgspec.Struct, eq=False):
    """What was sent together. It is sent again at most once for each of two reasons: its scripts were not known, or the
    connection, idle before, had been closed long ago."""

    calls: list[ScriptCall]
    late_at_s: float
    was_loaded: bool = False
    was_lost: bool = False


class BatchedScripts:
    """Of one event loop, in which it is made. Close it after those who call, and before the client."""

    def __init__(self, client: Redis, *, timeout_s: float = TIMEOUT_S) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = client.connection_pool.make_connection()
        self._connection.socket_timeout = None  # a batch has one deadline
        self._timeout_s = timeout_s
        self._waiting: deque[ScriptCall] = deque()
        self._waiting_bytes = 0
        self._batch: _Batch | None = None
        self._late: asyncio.TimerHandle | None = None
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_sending = False
        self._is_closed = False
        self._sent_all: asyncio.Future[None] | None = None

    def call(self, script: Script, keys: Sequence[bytes | str], arguments: Arguments) -> ScriptCall:
        return self.send(script, script.packed(keys, arguments))

    def send(self, script: Script, packed: bytes) -> ScriptCall:
        """`packed` calls the script, as `Script.packed` does."""
        call = ScriptCall(self._loop, script, packed)
        if self._is_closed:
            call.settle(ValkeyAway("closed"))
        elif len(self._waiting) >= MAX_WAITING or self._waiting_bytes + len(packed) > MAX_WAITING_BYTES:
            call.settle(ValkeyAway("too much is waiting"))
        else:
            self._waiting.append(call)
            self._waiting_bytes += len(packed)
            if not self._is_sending:
                self._is_sending = True
                self._loop.call_soon(self._send_next)
        return call

    async def aclose(self) -> None:
        """What was called before still gets its answer, if Valkey gives one."""
        self._is_closed = True
        if self._is_sending:
            self._sent_all = self._loop.create_future()
            await asyncio.wait({self._sent_all}, timeout=CLOSE_S)
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        self._give_up("closed")
        await self._connection.disconnect(nowait=True)

    def _send_next(self) -> None:
        """Called while nothing is under way."""
        if not self._waiting:
            self._rest()
            return
        late_at_s = self._loop.time() + self._timeout_s
        self._send(_Batch(self._taken(), late_at_s))

    def _rest(self) -> None:
        self._is_sending = False
        if self._sent_all is not None and not self._sent_all.done():
            self._sent_all.set_result(None)

    def _taken(self) -> list[ScriptCall]:
        """The first that wait, and one of them at least."""
        waiting, calls, size = self._waiting, list[ScriptCall](), 0
        while waiting and len(calls) < MAX_BATCH:
            size += len(waiting[0].packed)
            if calls and size > MAX_BATCH_BYTES:
                break
            call = waiting.popleft()
            self._waiting_bytes -= len(call.packed)
            calls.append(call)
        return calls

    def _send(self, batch: _Batch) -> None:
        self._batch = batch
        if self._wire is None:
            self._connecting = asyncio.create_task(self._connect(batch))
            return
        self._late = self._loop.call_at(batch.late_at_s, self._give_up, "TimeoutError")
        self._wire.ask([call.packed for call in batch.calls])

    async def _connect(self, batch: _Batch) -> None:
        reason = "closed"
        try:
            async with asyncio.timeout_at(batch.late_at_s):
                self._wire = await open_wire(self._connection, self._hear, self._lose)
        except (RedisError, OSError, TimeoutError) as failure:
            reason = type(failure).__name__
        finally:
            self._connecting = None
            if self._wire is None:
                self._give_up(reason)
        if self._wire is not None:
            self._send(batch)

    def _hear(self, replies: list[Any]) -> None:
        batch = self._no_longer_under_way()
        assert batch is not None
        unknown, is_useless = _settled(batch.calls, replies)
        if is_useless and self._wire is not None:
            self._wire.abort()
            self._wire = None
        if unknown and not batch.was_loaded:
            scripts = {call.script for call in unknown}
            loads = [ScriptCall(self._loop, script, script.packed_load()) for script in scripts]
            self._send(_Batch([*loads, *unknown], batch.late_at_s, was_loaded=True, was_lost=batch.was_lost))
            return
        for call in unknown:
            call.settle(ValkeyAway(NOT_KNOWN))
        self._send_next()

    def _lose(self) -> None:
        self._wire = None
        batch = self._batch
        if batch is None:
            return
        if batch.was_lost:
            self._give_up("ConnectionError")
            return
        batch.was_lost = True
        if self._late is not None:
            self._late.cancel()
        self._send(batch)

    def _no_longer_under_way(self) -> _Batch | None:
        if self._late is not None:
            self._late.cancel()
        batch, self._batch, self._late = self._batch, None, None
        return batch

    def _give_up(self, reason: str) -> None:
        """All that was sent or waits is told so. The connection may still answer, so it is not used again."""
        if self._wire is not None:
            self._wire.abort()
            self._wire = None
        batch = self._no_longer_under_way()
        calls = [*(batch.calls if batch else ()), *self._waiting]
        self._waiting.clear()
        self._waiting_bytes = 0
        self._rest()
        for call in calls:
            call.settle(ValkeyAway(reason))


def _settled(calls: Sequence[ScriptCall], replies: Sequence[Any]) -> tuple[list[ScriptCall], bool]:
    """All but those that it gives back, whose script is not known there; and whether this server does not serve now:
    behind its address there may be another one."""
    unknown: list[ScriptCall] = []
    is_useless = False
    for call, reply in zip(calls, replies, strict=True):
        if type(reply) is not ReplyError:
            call.settle(reply)
        elif str(reply).startswith(NOT_KNOWN):
            unknown.append(call)
        else:
            is_useless = is_useless or str(reply).startswith(NOT_SERVING)
            call.settle(ValkeyAway(str(reply)))
    return unknown, is_useless


def _packed(*words: bytes | str | int) -> bytes:
    return pack_command(cast("tuple[str]", words))
