"""Reads of a stream: single messages from its leader, ranges from any replica that is far enough."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from domain.errors import Unavailable

PATIENCE_S = 5.0
ATTEMPT_S = 2.0
PAUSE_S = 0.05
PAGE_MESSAGES = 256
NO_MESSAGE = 10037
NO_STREAM = 10059
MESSAGE_ID = "Nats-Msg-Id"


class StoredMessage(msgspec.Struct, frozen=True):
    """A message as its stream holds it. `ident` is what its writer named it, empty if nothing."""

    sequence: int
    subject: str
    raw: bytes
    time: datetime
    ident: str = ""


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Found(msgspec.Struct):
    seq: int
    subject: str
    time: datetime
    data: bytes = b""
    hdrs: bytes = b""


class _Get(msgspec.Struct):
    message: _Found | None = None
    error: _Error | None = None


class _State(msgspec.Struct):
    last_seq: int = 0


class _Info(msgspec.Struct):
    state: _State = msgspec.field(default_factory=_State)
    error: _Error | None = None


async def last_of_subject(
    connection: Client, stream: str, subject: str, patience_s: float = PATIENCE_S
) -> StoredMessage | None:
    return await _get(connection, stream, {"last_by_subj": subject}, patience_s)


async def next_of_subject(
    connection: Client, stream: str, subject: str, after: int, patience_s: float = PATIENCE_S
) -> StoredMessage | None:
    return await _get(connection, stream, {"seq": after + 1, "next_by_subj": subject}, patience_s)


async def message_at(
    connection: Client, stream: str, sequence: int, patience_s: float = PATIENCE_S
) -> StoredMessage | None:
    return await _get(connection, stream, {"seq": sequence}, patience_s)


async def last_sequence(connection: Client, stream: str) -> int:
    """Of the whole stream, as its leader knows it; 0 when it is empty."""
    info = await _ask_leader(connection, f"$JS.API.STREAM.INFO.{stream}", b"", _Info, PATIENCE_S)
    return info.state.last_seq


async def read_range(
    connection: Client, stream: str, *, subject: str = ">", start: int, until: int, page_size: int = PAGE_MESSAGES
) -> AsyncGenerator[StoredMessage]:
    """In order, from `start` to `until`, which must be there: a replica that does not have it yet is asked again."""
    sequence, give_up = start, _now() + PATIENCE_S
    while sequence <= until:
        try:
            page = await _page(
                connection, stream, {"seq": sequence, "next_by_subj": subject, "batch": page_size}, until
            )
        except (nats.errors.Error, TimeoutError):
            page = []
        for message in page:
            yield message
        if page:
            sequence, give_up = page[-1].sequence + 1, _now() + PATIENCE_S
        elif _now() > give_up:
            raise Unavailable("The event log does not show what it recorded; try again.")
        else:
            await asyncio.sleep(PAUSE_S)


async def _page(connection: Client, stream: str, query: dict[str, Any], until: int) -> list[StoredMessage]:
    """One batched direct read (ADR-31). It ends with a status message; so does one that finds nothing."""
    inbox = connection.new_inbox()
    subscription = await connection.subscribe(inbox)
    try:
        await connection.publish(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(query), reply=inbox)
        page: list[StoredMessage] = []
        while True:
            headers = (answer := await subscription.next_msg(timeout=ATTEMPT_S)).headers or {}
            if "Status" in headers:
                return page
            message = _direct(answer, headers)
            if message.sequence > until:
                return page
            page.append(message)
    finally:
        await _unsubscribe(subscription)


async def _unsubscribe(subscription: Any) -> None:
    try:
        await subscription.unsubscribe()
    except nats.errors.Error:
        return  # the connection is closed, and with it the subscription


def _direct(answer: Msg, headers: dict[str, str]) -> StoredMessage:
    return StoredMessage(
        sequence=int(headers["Nats-Sequence"]),
        subject=headers["Nats-Subject"],
        raw=answer.data,
        time=msgspec.convert(headers["Nats-Time-Stamp"], datetime),
        ident=headers.get(MESSAGE_ID, ""),
    )


async def _get(connection: Client, stream: str, query: dict[str, Any], patience_s: float) -> StoredMessage | None:
    subject = f"$JS.API.STREAM.MSG.GET.{stream}"
    found = (await _ask_leader(connection, subject, msgspec.json.encode(query), _Get, patience_s)).message
    if found is None:
        return None
    return StoredMessage(found.seq, found.subject, found.data, found.time, _ident_in(found.hdrs))


def _ident_in(headers: bytes) -> str:
    for line in headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == MESSAGE_ID.encode():
            return value.strip().decode()
    return ""


async def _ask_leader(connection: Client, subject: str, query: bytes, answer: type[Any], patience_s: float) -> Any:
    """Asks again while there is no leader or no connection. Raises Unavailable."""
    give_up = _now() + patience_s
    while True:
        decoded = await _ask(connection, subject, query, answer, min(ATTEMPT_S, patience_s))
        if decoded is not None:
            return decoded
        if _now() > give_up:
            raise Unavailable("The event log does not answer; nothing was read.")
        await asyncio.sleep(PAUSE_S)


async def _ask(connection: Client, subject: str, query: bytes, answer: type[Any], timeout_s: float) -> Any:
    """None without a connection, a leader or an answer."""
    if not connection.is_connected:  # nats-py would keep the unanswered request in memory for ever
        return None
    try:
        reply = await connection.request(subject, query, timeout=timeout_s)
    except (nats.errors.Error, OSError, TimeoutError):
        return None
    decoded = msgspec.json.decode(reply.data, type=answer)
    if decoded.error is None or decoded.error.err_code == NO_MESSAGE:
        return decoded
    if decoded.error.err_code == NO_STREAM:
        raise Unavailable("The event log has no such stream; run `agg migrate`.")
    return None


def _now() -> float:
    return asyncio.get_running_loop().time()
