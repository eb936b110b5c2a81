"""Passwords as argon2id hashes, made in two threads with a bounded queue before them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from domain.errors import Busy

Result = TypeVar("Result")

MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1
THREADS = 2
WAITING = 32
"""A hash takes some 40 ms of one core: this queue is passed in under a second, or refused."""


class Argon2Passwords:
    """Supplies `Passwords`. Close it to end its threads."""

    def __init__(self, *, threads: int = THREADS, waiting: int = WAITING) -> None:
        self._hasher = PasswordHasher(
            time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, hash_len=32, salt_len=16, type=Type.ID
        )
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._room = threads + waiting
        self._decoy = self._hasher.hash("the password of nobody")

    async def hash(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password: str, hashed: str | None) -> bool:
        matches = await self._run(lambda: self._matches(password, hashed or self._decoy))
        return matches and hashed is not None

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _matches(self, password: str, hashed: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], Result]) -> Result:
        """A caller that gives up keeps its place until its hash is done, for the thread is still taken."""
        if self._room <= 0:
            raise Busy("Too many log-ins at once; try again in a second.")
        self._room -= 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._make_room)
        return await asyncio.shield(future)

    def _make_room(self, done: "asyncio.Future[Any]") -> None:
        self._room += 1
        if not done.cancelled():
            done.exception()  # seen: its caller may have gone


class PlainPasswords:
    """The fast fake: no hash at all. For tests only."""

    async def hash(self, password: str) -> str:
        return f"plain:{password}"

    async def verify(self, password: str, hashed: str | None) -> bool:
        return hashed == f"plain:{password}"
