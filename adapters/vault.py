"""The vault: personal data under one key per person, the wrapped keys in a stream that can erase.

Wrapped keys live on the subject `keys.<owner>` of the stream KEYS, one message each. The log of facts is for ever
and holds only what is sealed; to forget a person is to erase one message here.
"""

import time
from collections import OrderedDict
from typing import Protocol

import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.errors import APIError, Error, NotFoundError

from adapters.sealing import DataKey, MasterKey, SealBroken
from domain.errors import Unavailable

STREAM = "KEYS"
KEYS_CACHED = 10_000
CACHED_S = 60.0
"""A process may open a forgotten person's data for this long."""
WRONG_LAST_SEQUENCE = 10071
NO_MESSAGE = 10037

logger = structlog.get_logger()


class WrappedKeys(Protocol):
    """Raises Unavailable."""

    async def read(self, owner: str) -> bytes | None: ...

    async def create(self, owner: str, wrapped: bytes) -> bytes:
        """The owner's key: this one, or the one that another writer made first."""
        ...

    async def erase(self, owner: str) -> None: ...


class EnvelopeVault:
    """Supplies `Vault` over wherever the wrapped keys are."""

    def __init__(self, keys: WrappedKeys, master_key: bytes) -> None:
        self._keys = keys
        self._master = MasterKey(master_key)
        self._unwrapped: OrderedDict[str, tuple[DataKey, float]] = OrderedDict()

    async def seal(self, owner: str, field: str, plaintext: str) -> str:
        key = await self._key_of(owner) or await self._new_key_of(owner)
        return key.seal(owner, field, plaintext)

    async def open(self, owner: str, field: str, sealed: str) -> str | None:
        key = await self._key_of(owner)
        if key is None:
            return None
        try:
            return key.open(owner, field, sealed)
        except SealBroken:
            raise _unreadable(owner) from None

    async def forget(self, owner: str) -> None:
        await self._keys.erase(owner)
        self._unwrapped.pop(owner, None)

    async def _key_of(self, owner: str) -> DataKey | None:
        cached = self._unwrapped.get(owner)
        if cached and cached[1] > time.monotonic():
            self._unwrapped.move_to_end(owner)
            return cached[0]
        wrapped = await self._keys.read(owner)
        return None if wrapped is None else self._unwrap(owner, wrapped)

    async def _new_key_of(self, owner: str) -> DataKey:
        return self._unwrap(owner, await self._keys.create(owner, self._master.new_wrapped_key(owner)))

    def _unwrap(self, owner: str, wrapped: bytes) -> DataKey:
        try:
            key = self._master.unwrap(owner, wrapped)
        except SealBroken:
            raise _unreadable(owner) from None
        self._unwrapped[owner] = (key, time.monotonic() + CACHED_S)
        self._unwrapped.move_to_end(owner)
        if len(self._unwrapped) > KEYS_CACHED:
            self._unwrapped.popitem(last=False)
        return key


class JetStreamWrappedKeys:
    def __init__(self, js: JetStreamContext) -> None:
        self._js = js

    async def read(self, owner: str) -> bytes | None:
        found = await self._last(owner)
        return found[1] if found else None

    async def create(self, owner: str, wrapped: bytes) -> bytes:
        try:
            await self._js.publish(_subject(owner), wrapped, headers={"Nats-Expected-Last-Subject-Sequence": "0"})
        except APIError as refusal:
            if refusal.err_code != WRONG_LAST_SEQUENCE:
                raise _unreachable() from refusal
        except (nats.errors.Error, TimeoutError) as silence:
            return await self._stored_after(silence, owner)
        else:
            return wrapped
        return await self._stored_after(None, owner)

    async def erase(self, owner: str) -> None:
        """Overwritten on disk first (that is what deleting one message does), then purged."""
        found = await self._last(owner)
        try:
            if found:
                await self._js.delete_msg(STREAM, found[0])
            await self._js.purge_stream(STREAM, subject=_subject(owner))
        except (Error, nats.errors.Error, TimeoutError) as failure:
            raise _unreachable() from failure

    async def _stored_after(self, cause: Exception | None, owner: str) -> bytes:
        """What is there after a create that was refused or got no answer."""
        stored = await self.read(owner)
        if stored is None:
            raise _unreachable() from cause
        return stored

    async def _last(self, owner: str) -> tuple[int, bytes] | None:
        """From the stream's leader: a mirror could be behind a `create` or an `erase`."""
        try:
            message = await self._js.get_last_msg(STREAM, _subject(owner))
        except NotFoundError as missing:
            if missing.err_code != NO_MESSAGE:
                raise _unreachable() from missing
            return None
        except (Error, nats.errors.Error, TimeoutError) as failure:
            raise _unreachable() from failure
        return (message.seq or 0, message.data) if message.data else None


class InMemoryWrappedKeys:
    def __init__(self) -> None:
        self._wrapped: dict[str, bytes] = {}

    async def read(self, owner: str) -> bytes | None:
        return self._wrapped.get(owner)

    async def create(self, owner: str, wrapped: bytes) -> bytes:
        return self._wrapped.setdefault(owner, wrapped)

    async def erase(self, owner: str) -> None:
        self._wrapped.pop(owner, None)


def _subject(owner: str) -> str:
    return f"keys.{owner}"


def _unreachable() -> Unavailable:
    return Unavailable("Personal data cannot be reached now; nothing was done.")


def _unreadable(owner: str) -> Unavailable:
    logger.error("personal_data_unreadable", owner=owner)
    return Unavailable("Personal data cannot be opened.", retry_after_s=60)
