"""The recorder contract of the `eventsourcing` library on our log: its repository and time travel work on our events.

A synchronous face on the same reads and guarded writes that the event log uses. A stored event is a CloudEvent:
`topic` is its type, `originator_version` its sequence, `state` its data. An originator's id is the rest of its
subject after the prefix, so a ledger is `<bucket>.ledger.<ident>`, and the state of our own events is their JSON.
"""

import uuid
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    IntegrityError,
    ListenNotifySubscription,
    Notification,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Subscription,
)

from adapters.background_loop import BackgroundLoop
from adapters.guarded_writes import GuardedEvents, GuardedWriter
from adapters.jetstream_reads import StoredMessage, last_of_subject, last_sequence, read_range
from adapters.log_reader import read_stream
from adapters.nats_connection import connect_nats
from domain.errors import ConcurrentWrite, Unavailable
from domain.events import Envelope

OriginatorId = uuid.UUID | str
PAGE = 256


class _Envelope(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """CloudEvents carries what is not JSON as `data_base64`."""

    data_base64: bytes | None = None


class JetStreamAggregateRecorder(AggregateRecorder):
    """`originator` makes an originator's id from its text: `uuid.UUID`, or `str`."""

    def __init__(
        self, url: str, *, stream: str = "EVT", prefix: str = "evt", originator: Callable[[str], OriginatorId] = str
    ) -> None:
        self._stream = stream
        self._prefix = prefix
        self._originator = originator
        self._loop = BackgroundLoop()
        self._connection = self._loop.run(connect_nats(url, "eventsourcing recorder"))
        self._writer = GuardedWriter(self._connection, stream)

    def close(self) -> None:
        self._loop.run(self._connection.close())
        self._loop.close()

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        self._insert(stored_events, **kwargs)
        return None

    def select_events(
        self,
        originator_id: OriginatorId,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        with _as_the_library_says():
            if desc and limit == 1 and lte is None:
                last = self._loop.run(last_of_subject(self._connection, self._stream, self._subject(originator_id)))
                events = [self._stored_event(last)] if last else []
            else:
                events = self._loop.run(self._history(originator_id))
        wanted = [event for event in events if _between(event.originator_version, gt, lte)]
        return list(islice(reversed(wanted) if desc else wanted, limit))

    def _insert(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> list[int]:
        if kwargs.get("tracking") is not None:
            raise NotSupportedError("positions of projections are kept in PostgreSQL, beside what they project")
        with _as_the_library_says():
            return self._loop.run(self._write(stored_events)) if stored_events else []

    async def _write(self, stored_events: Sequence[StoredEvent]) -> list[int]:
        """The position of each event, in the order given."""
        groups: dict[OriginatorId, list[StoredEvent]] = {}
        for event in stored_events:
            groups.setdefault(event.originator_id, []).append(event)
        parts = [await self._guarded(originator_id, events) for originator_id, events in groups.items()]
        last_positions = await self._writer.write(parts)
        positions = {
            id(event): last - len(events) + 1 + index
            for events, last in zip(groups.values(), last_positions, strict=True)
            for index, event in enumerate(events)
        }
        return [positions[id(event)] for event in stored_events]

    async def _guarded(self, originator_id: OriginatorId, events: Sequence[StoredEvent]) -> GuardedEvents:
        """The library knows versions, the log sequences: the last event tells both."""
        last = await last_of_subject(self._connection, self._stream, self._subject(originator_id))
        first = self._stored_event(last).originator_version + 1 if last else events[0].originator_version
        if [event.originator_version for event in events] != list(range(first, first + len(events))):
            raise IntegrityError(f"{originator_id} does not go on with version {events[0].originator_version}")
        encoded = [_encode(event) for event in events]
        return GuardedEvents(self._subject(originator_id), last.sequence if last else 0, encoded)

    async def _history(self, originator_id: OriginatorId) -> list[StoredEvent]:
        subject = self._subject(originator_id)
        last = await last_of_subject(self._connection, self._stream, subject)
        if last is None:
            return []
        messages = read_range(self._connection, self._stream, subject=subject, start=1, until=last.sequence)
        return [self._stored_event(message) async for message in messages]

    def _subject(self, originator_id: OriginatorId) -> str:
        return f"{self._prefix}.{originator_id}"

    def _stored_event(self, message: StoredMessage) -> StoredEvent:
        return StoredEvent(*self._content(message))

    def _content(self, message: StoredMessage) -> tuple[OriginatorId, int, str, bytes]:
        envelope = msgspec.json.decode(message.raw, type=_Envelope)
        state = bytes(envelope.data) if envelope.data_base64 is None else envelope.data_base64
        originator_id = self._originator(message.subject.removeprefix(f"{self._prefix}."))
        return originator_id, envelope.sequence, envelope.type, state


class JetStreamRecorder(JetStreamAggregateRecorder, ApplicationRecorder):
    """A notification's id is its stream sequence."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return self._insert(stored_events, **kwargs)

    def max_notification_id(self) -> int | None:
        with _as_the_library_says():
            return self._loop.run(last_sequence(self._connection, self._stream)) or None

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = 1 if start is None else start + (not inclusive_of_start)
        with _as_the_library_says():
            return self._loop.run(self._notifications(max(first, 1), limit, stop, topics))

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        return JetStreamSubscription(self, gt, topics)

    def listen(self, heard: Callable[[], None]) -> Future[None]:
        """Call back at every message that follows; cancel to stop."""
        last = self.max_notification_id() or 0
        return self._loop.start(self._listen(last + 1, heard))

    async def _listen(self, start: int, heard: Callable[[], None]) -> None:
        async for _ in read_stream(self._connection, self._stream, start=start, follow=True):
            heard()

    async def _notifications(
        self, first: int, limit: int, stop: int | None, topics: Sequence[str]
    ) -> list[Notification]:
        last = await last_sequence(self._connection, self._stream)
        until = last if stop is None else min(last, stop)
        selected: list[Notification] = []
        page_size = PAGE if topics else min(PAGE, limit)
        async for message in read_range(self._connection, self._stream, start=first, until=until, page_size=page_size):
            content = self._content(message)
            if not topics or content[2] in topics:
                selected.append(Notification(*content, id=message.sequence))
            if len(selected) == limit:
                break
        return selected


class JetStreamSubscription(ListenNotifySubscription[JetStreamRecorder]):
    def __init__(self, recorder: JetStreamRecorder, gt: int | None, topics: Sequence[str]) -> None:
        self._listening: Future[None] | None = None
        super().__init__(recorder, gt, topics)
        self._listening = recorder.listen(self._has_been_notified.set)
        self._has_been_notified.set()  # for what came between its first pull and now

    def stop(self) -> None:
        super().stop()
        if self._listening is not None:
            self._listening.cancel()


@contextmanager
def _as_the_library_says() -> Generator[None]:
    try:
        yield
    except ConcurrentWrite as conflict:
        raise IntegrityError(str(conflict)) from conflict
    except Unavailable as outage:
        raise OperationalError(str(outage)) from outage
    except ValueError as misuse:
        raise ProgrammingError(str(misuse)) from misuse


def _encode(event: StoredEvent) -> tuple[str, bytes]:
    ident = str(uuid.uuid4())
    is_json = _is_json(event.state)
    envelope = _Envelope(
        specversion="1.0",
        id=ident,
        source="/eventsourcing",
        type=event.topic,
        subject=str(event.originator_id),
        time=datetime.now(UTC),
        accountid="system",
        sequence=event.originator_version,
        data=msgspec.Raw(event.state if is_json else b"null"),
        data_base64=None if is_json else event.state,
    )
    return ident, msgspec.json.encode(envelope)


def _is_json(state: bytes) -> bool:
    """Whether it comes back byte for byte as a JSON member."""
    try:
        return bytes(msgspec.json.decode(state, type=msgspec.Raw)) == state == state.decode().encode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _between(version: int, gt: int | None, lte: int | None) -> bool:
    return (gt is None or version > gt) and (lte is None or version <= lte)
