"""The append protocol: guarded writes to a stream, all or nothing, safe to repeat.

A single server and a cluster answer the same retry differently (an error here, `duplicate` there), and silence means
nothing at all. So an unclear answer is never interpreted but looked up: the guard allows our first event only as the
very next one on its subject after `expected`, hence that place tells everything. Our id there: written. Another id:
somebody was first, and ours can never follow. Nothing: send the same ids again.
"""

import asyncio
import random
import uuid
from collections.abc import Sequence

import msgspec
import nats.errors
from nats.aio.client import Client

from adapters.jetstream_reads import MESSAGE_ID, StoredMessage, last_of_subject, message_at, next_of_subject
from domain.errors import ConcurrentWrite, Conflict, OutcomeUnknown, Unavailable

DEADLINE_S = 5.0
ATTEMPT_S = 1.0
FIRST_PAUSE_S = 0.005
LONGEST_PAUSE_S = 0.25
APPLYING_LOOKS = 5
LAST_LOOK_S = 0.5
MAX_EVENTS = 1_000
"""The server's limit of one atomic batch."""
HEADER_ROOM = 1_024

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
WRONG_SEQUENCE = (10071, 10164)
"""10164 comes without a sequence, from a cluster that has another write of the subject in flight."""


class GuardedEvents(msgspec.Struct, frozen=True):
    """Ids and bytes for one literal subject whose last message is `expected` (0: none)."""

    subject: str
    expected: int
    events: Sequence[tuple[str, bytes]]


class _Refusal(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    """`sent` is false when no server took the message, `silent` true when none answered."""

    seq: int = 0
    duplicate: bool = False
    error: _Refusal | None = None
    sent: bool = True
    silent: bool = False

    @property
    def written(self) -> bool:
        return self.sent and not self.silent and not self.duplicate and self.error is None


class GuardedWriter:
    def __init__(self, connection: Client, stream: str, *, deadline_s: float = DEADLINE_S) -> None:
        self._connection = connection
        self._name = stream
        self._deadline_s = deadline_s

    async def write(self, parts: Sequence[GuardedEvents]) -> list[int]:
        """The sequence of each part's last event. The events of one call lie side by side, in order.

        Raises ConcurrentWrite, Unavailable (nothing was written) or OutcomeUnknown.
        """
        self._check(parts)
        now = asyncio.get_running_loop().time
        give_up, pause_s, unclear = now() + self._deadline_s, FIRST_PAUSE_S, False
        while True:
            answer = await self._send(parts)
            if answer.written:
                return _positions(parts, answer.seq)
            unclear = unclear or answer.silent
            if (answer.sent or unclear) and (found := await self._settle(parts, answer, give_up - now())):
                return found
            if now() > give_up:
                raise _gave_up(unclear)
            await asyncio.sleep(pause_s * (0.5 + random.random()))  # noqa: S311  (jitter, no secret)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _check(self, parts: Sequence[GuardedEvents]) -> None:
        idents = [ident for part in parts for ident, _ in part.events]
        if not idents or not all(part.events for part in parts):
            raise ValueError("an append without events")
        if len(idents) > MAX_EVENTS:
            raise ValueError(f"{len(idents)} events in one append, at most {MAX_EVENTS} fit")
        if len(set(idents)) < len(idents) or len({part.subject for part in parts}) < len(parts):
            raise ValueError("an append names an event id or a subject twice")
        room = self._connection.max_payload - HEADER_ROOM
        if any(len(raw) > room for part in parts for _, raw in part.events):
            raise ValueError(f"an event is larger than {room} bytes")

    async def _send(self, parts: Sequence[GuardedEvents]) -> _Answer:
        messages = [message for part in parts for message in _messages(part)]
        if len(messages) > 1:
            _mark_batch(messages)
        if not self._connection.is_connected:  # nats-py would keep the unanswered request in memory for ever
            return _Answer(sent=False)
        try:
            for subject, raw, headers in messages[:-1]:
                await self._connection.publish(subject, raw, headers=headers)
            subject, raw, headers = messages[-1]
            reply = await self._connection.request(subject, raw, timeout=ATTEMPT_S, headers=headers)
        except (
            nats.errors.NoRespondersError,
            nats.errors.OutboundBufferLimitError,
            nats.errors.ConnectionClosedError,
        ):
            return _Answer(sent=False)
        except (nats.errors.Error, TimeoutError):
            return _Answer(silent=True)
        return msgspec.json.decode(reply.data, type=_Answer)

    async def _settle(self, parts: Sequence[GuardedEvents], answer: _Answer, patience_s: float) -> list[int] | None:
        """What the stream says: where our events are, None while nothing is there, or ConcurrentWrite."""
        stream = _Stream(self._connection, self._name, max(patience_s, LAST_LOOK_S))
        try:
            if answer.duplicate:
                await stream.refuse_foreign(parts, answer.seq)
            refused = answer.error is not None and answer.error.err_code in WRONG_SEQUENCE
            return await stream.find(parts, refused)
        except Unavailable:
            raise _gave_up(unclear=True) from None


class _Stream:
    """Looks a write up, as the leader of the stream sees it."""

    def __init__(self, connection: Client, name: str, patience_s: float) -> None:
        self._connection = connection
        self._name = name
        self._patience_s = patience_s

    async def find(self, parts: Sequence[GuardedEvents], refused: bool) -> list[int] | None:
        for part in parts:
            follower = await self._next(part.subject, part.expected)
            if follower is None:
                if refused and await self._is_ahead(part):
                    raise ConcurrentWrite("The log is behind what this change was decided on; decide again.")
            elif follower.ident != part.events[0][0]:
                raise ConcurrentWrite("Another writer was first; decide again.")
            else:
                return [await self._last_position(each) for each in parts]
        return None

    async def refuse_foreign(self, parts: Sequence[GuardedEvents], sequence: int) -> None:
        """An id that was used on another subject makes the server say `duplicate` and write nothing."""
        known = await message_at(self._connection, self._name, sequence, self._patience_s)
        if known and known.subject not in {part.subject for part in parts}:
            raise Conflict("This command was already recorded for something else; use a new command id.")

    async def _is_ahead(self, part: GuardedEvents) -> bool:
        """The guard names a place that the subject has not reached: no retry can succeed."""
        last = await self._last(part.subject)
        return (last.sequence if last else 0) < part.expected

    async def _last_position(self, part: GuardedEvents) -> int:
        """Mostly the last of its subject; when somebody appended on top, it is found by walking our events."""
        last = await self._last(part.subject)
        if last and last.ident == part.events[-1][0]:
            return last.sequence
        sequence = part.expected
        for ident, _ in part.events:
            sequence = await self._own_position(ident, part.subject, sequence)
        return sequence

    async def _own_position(self, ident: str, subject: str, after: int) -> int:
        """Waits a moment for the rest of a batch that is just being applied."""
        for _ in range(APPLYING_LOOKS):
            message = await self._next(subject, after)
            if message and message.ident == ident:
                return message.sequence
            await asyncio.sleep(LONGEST_PAUSE_S)
        raise OutcomeUnknown("The log shows only a part of this change; verify it with `agg log verify`.")

    async def _last(self, subject: str) -> StoredMessage | None:
        return await last_of_subject(self._connection, self._name, subject, self._patience_s)

    async def _next(self, subject: str, after: int) -> StoredMessage | None:
        return await next_of_subject(self._connection, self._name, subject, after, self._patience_s)


def _messages(part: GuardedEvents) -> list[tuple[str, bytes, dict[str, str]]]:
    """Only the first of a subject carries the guard; a second one would be refused."""
    messages = [(part.subject, raw, {MESSAGE_ID: ident}) for ident, raw in part.events]
    messages[0][2][EXPECTED] = str(part.expected)
    return messages


def _mark_batch(messages: Sequence[tuple[str, bytes, dict[str, str]]]) -> None:
    """The headers of an atomic batch (ADR-50)."""
    batch = uuid.uuid4().hex
    for number, (_, _, headers) in enumerate(messages, start=1):
        headers["Nats-Batch-Id"] = batch
        headers["Nats-Batch-Sequence"] = str(number)
    messages[-1][2]["Nats-Batch-Commit"] = "1"


def _positions(parts: Sequence[GuardedEvents], last: int) -> list[int]:
    """From the sequence of the last event of all."""
    positions: list[int] = []
    for part in reversed(parts):
        positions.append(last)
        last -= len(part.events)
    return positions[::-1]


def _gave_up(unclear: bool) -> Unavailable:
    if unclear:
        return OutcomeUnknown("The event log did not confirm the change; it may have been recorded.")
    return Unavailable("The event log cannot take the change now; nothing was recorded.")
