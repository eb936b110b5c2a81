"""Lua scripts on Valkey. Calls that come while one batch is under way go out together as the next one.

One connection of redis-py's, used without its pool and pipeline: they cost four times as much CPU a call.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import NoScriptError, RedisError, ResponseError

MAX_BATCH = 256
MAX_WAITING = 10_000
TIMEOUT_S = 0.05
"""For a batch, connecting included. A call waits for at most the batch before its own as well."""

Arguments = Sequence[bytes | str | int]


class ValkeyAway(Exception):
    """No answer in time, or a failure. What was asked may have been done."""


class Script:
    """It must not mind to be called twice with the same arguments."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class BatchedScripts:
    """`scripts` are all that may be called."""

    def __init__(self, client: Redis, *scripts: Script, timeout_s: float = TIMEOUT_S) -> None:
        self._connection = client.connection_pool.make_connection()
        self._connection.socket_timeout = None  # a batch has one deadline
        self._loads = [("SCRIPT", "LOAD", script.source) for script in scripts]
        self._timeout_s = timeout_s
        self._waiting: deque[tuple[Arguments, asyncio.Future[Any]]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._is_closed = False

    async def call(self, script: Script, keys: Sequence[bytes | str], arguments: Arguments) -> Any:
        """The script's answer. Raises ValkeyAway."""
        if self._is_closed:
            raise ValkeyAway("closed")
        if len(self._waiting) >= MAX_WAITING:
            raise ValkeyAway("too many calls are waiting")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((("EVALSHA", script.sha, len(keys), *keys, *arguments), answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all())
        return await answer

    async def aclose(self) -> None:
        """What still waits is told that Valkey is away."""
        self._is_closed = True
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait({self._sender})
        for _, future in self._waiting:  # a sender that never began leaves them
            _settle(future, ValkeyAway("closed"))
        self._waiting.clear()
        await self._connection.disconnect(nowait=True)

    async def _send_all(self) -> None:
        batch: list[tuple[Arguments, asyncio.Future[Any]]] = []
        reason = "closed"
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]
                async with asyncio.timeout(self._timeout_s):
                    answers = await self._send([command for command, _ in batch])
                for (_, future), answer in zip(batch, answers, strict=True):
                    _settle(future, answer)
        except (RedisError, OSError, TimeoutError) as failure:
            reason = type(failure).__name__
        finally:
            self._sender = None
            for _, future in (*batch, *self._waiting):
                _settle(future, ValkeyAway(reason))
            self._waiting.clear()

    async def _send(self, commands: Sequence[Arguments]) -> list[Any]:
        """Each command's answer or exception. A server that lacks a script is given all of them."""
        answers = await self._exchange(commands)
        unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = await self._exchange([*self._loads, *(commands[index] for index in unknown)])
            for index, answer in zip(unknown, again[len(self._loads) :], strict=True):
                answers[index] = answer
        return answers

    async def _exchange(self, commands: Sequence[Arguments]) -> list[Any]:
        packed = [pack_command(cast("tuple[str]", tuple(command))) for command in commands]
        try:
            return await self._answers(packed)
        except NotConnected:  # a connection that was idle may have been closed long ago
            return await self._answers(packed)

    async def _answers(self, packed: list[bytes]) -> list[Any]:
        answers: list[Any] = []
        try:
            await self._connection.send_packed_command(packed)
            while len(answers) < len(packed):
                try:
                    answers.append(await self._connection.read_response())
                except ResponseError as refusal:
                    answers.append(refusal)
        except BaseException:
            await self._connection.disconnect(nowait=True)
            raise
        return answers


def _settle(future: asyncio.Future[Any], answer: object) -> None:
    if future.done():
        return
    if isinstance(answer, ValkeyAway):
        future.set_exception(answer)
    elif isinstance(answer, Exception):
        future.set_exception(ValkeyAway(f"{type(answer).__name__}: {answer}"))
    else:
        future.set_result(answer)
