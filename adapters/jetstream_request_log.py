"""Group commit: what a worker has waiting when its last publish returns goes out as one message, with one fsync.

The queue is first in, first out, and one message is in flight at a time, so a worker's events lie in the stream in
the order of their `sequence`, from 1 without a gap. A message is repeated with the same bytes until it is
acknowledged; should it be stored twice after all, readers know an event by (`source`, `sequence`).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import structlog
from nats.aio.client import Client

from adapters.batch_publisher import ATTEMPT_S, BatchPublisher
from domain.errors import Busy, OutcomeUnknown, Unavailable
from domain.events import Envelope, tag_of
from domain.request import RequestAdmitted, RequestCached, RequestEvent

SUBJECT = "req.0"
MAX_WAITING = 20_000
MAX_BATCH_EVENTS = 512
MAX_BATCH_BYTES = 900_000
TIMEOUT_S = 5.0
SWEEP_S = 0.1
CLOSE_DEADLINE_S = 10.0
NEW_WORK = frozenset((RequestAdmitted, RequestCached))
"""Events without which their request was never begun and answered nobody: they may be refused."""

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode
OnPublish = Callable[[int, float], None]


class _Waiting:
    """An event and who waits for it. `kept`: it is about a request that was admitted before, and is never given up."""

    __slots__ = ("deadline", "done", "event", "kept", "raw")

    def __init__(self, event: RequestEvent, done: "asyncio.Future[int]", deadline: float) -> None:
        self.event = event
        self.done = done
        self.deadline = deadline
        self.kept = type(event) not in NEW_WORK
        self.raw = b""


class GroupCommitRequestLog:
    """`worker` names this process and this run of it: no other may ever write under the same name.

    Overload refuses work, not bookkeeping: a full queue turns admissions away (Busy), and answers from the cache, which
    begin a request as well as ending it; it takes every attempt and end of what was admitted. A caller that is
    cancelled while its admission still waits takes it back; once sent, it is recorded.
    `on_publish(batch_size, latency_s)` is told of every message that was acknowledged.
    """

    def __init__(
        self,
        connection: Client,
        worker: str,
        *,
        subject: str = SUBJECT,
        timeout_s: float = TIMEOUT_S,
        attempt_s: float = ATTEMPT_S,
        max_waiting: int = MAX_WAITING,
        on_publish: OnPublish | None = None,
    ) -> None:
        self._worker = worker
        self._source = f"/workers/{worker}"
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._on_publish = on_publish or _ignore
        self._publisher = BatchPublisher(connection, subject, attempt_s=attempt_s)
        self._queue: deque[_Waiting] = deque()
        self._in_flight: Sequence[_Waiting] = ()
        self._sequence = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._stopped = True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        """Events that are not acknowledged yet."""
        return len(self._queue) + len(self._in_flight)

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._tasks = [asyncio.create_task(self._commit_all()), asyncio.create_task(self._sweep())]
        for task in self._tasks:
            task.add_done_callback(_report_crash)

    async def close(self, deadline_s: float = CLOSE_DEADLINE_S) -> int:
        """Refuse admissions, write what waits, and stop; the number of events that could not be confirmed."""
        self._closing = True
        self._wake.set()
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=deadline_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        lost = [*self._in_flight, *self._queue]
        for waiting in lost:
            _fail(waiting, OutcomeUnknown("The server stops; the event may not have been recorded."))
        if lost:
            _log.error("request events not confirmed at the end", events=len(lost), worker=self._worker)
        return len(lost)

    async def append(self, event: RequestEvent) -> int:
        loop = self._loop
        if loop is None:
            raise Unavailable("This server is not open yet.")
        waiting = _Waiting(event, loop.create_future(), loop.time() + self._timeout_s)
        self._admit(waiting)
        self._queue.append(waiting)
        self._wake.set()
        return await waiting.done

    def _admit(self, waiting: _Waiting) -> None:
        if self._stopped or (self._closing and not waiting.kept):
            raise Unavailable("This server takes no new requests.")
        if not waiting.kept and len(self._queue) >= self._max_waiting:
            raise Busy("Too many requests wait for the event log; try again.")

    async def _commit_all(self) -> None:
        try:
            while not (self._closing and not self._queue):
                if batch := self._take():
                    await self._commit(batch)
                elif not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            self._stopped = True

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        now = asyncio.get_running_loop().time
        started = now()
        self._in_flight = batch
        position = await self._publisher.publish(_body(batch), self._message_id(batch))
        self._in_flight = ()
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_result(position)
        self._on_publish(len(batch), now() - started)

    def _take(self) -> list[_Waiting]:
        """As much as one message holds. Numbers are given here, so that what was given up leaves no gap."""
        batch: list[_Waiting] = []
        size, room = 0, min(MAX_BATCH_BYTES, self._publisher.max_bytes)
        while self._queue and len(batch) < MAX_BATCH_EVENTS:
            waiting = self._queue[0]
            if (waiting.done.cancelled() and not waiting.kept) or not self._encode(waiting, room):
                self._queue.popleft()
                continue
            size += len(waiting.raw) + 1
            if batch and size > room:
                break
            self._queue.popleft()
            self._sequence += 1
            batch.append(waiting)
        return batch

    def _encode(self, waiting: _Waiting, room: int) -> bool:
        """False when it cannot be: that is its caller's problem and nobody else's."""
        try:
            waiting.raw = _encode(self._envelope(waiting.event, self._sequence + 1))
            if len(waiting.raw) + 2 > room:
                raise ValueError(f"a request event of {len(waiting.raw)} bytes, at most {room} fit")
        except (TypeError, ValueError) as failure:
            _log.error("request event not recorded", request_id=waiting.event.request_id, error=str(failure))
            _fail(waiting, failure)
            return False
        return True

    def _envelope(self, event: RequestEvent, sequence: int) -> Envelope:
        return Envelope(
            specversion="1.0",
            id=f"{self._worker}/{sequence}",
            source=self._source,
            type=tag_of(event),
            subject=f"request/{event.request_id}",
            time=event.at,
            accountid=event.account_id,
            sequence=sequence,
            data=msgspec.Raw(_encode(event)),
        )

    def _message_id(self, batch: Sequence[_Waiting]) -> str:
        first = self._sequence - len(batch) + 1
        return f"{self._worker}/{first}-{self._sequence}"

    async def _sweep(self) -> None:
        """One timer for all deadlines: a timer for each event would cost more than the event."""
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(SWEEP_S)
            moment = now()
            for waiting in self._in_flight:
                if waiting.deadline < moment:
                    _fail(waiting, OutcomeUnknown("The event log did not confirm the request in time."))
            if self._queue and self._queue[0].deadline < moment:
                self._queue = deque(waiting for waiting in self._queue if not _gives_up(waiting, moment))


def _gives_up(waiting: _Waiting, moment: float) -> bool:
    """Whether it leaves the queue unsent."""
    if waiting.deadline >= moment:
        return False
    if waiting.kept:
        _fail(waiting, OutcomeUnknown("The event log did not confirm the request in time; it will be recorded."))
        return False
    _fail(waiting, Unavailable("The event log cannot take requests now; nothing was recorded."))
    return True


def _body(batch: Sequence[_Waiting]) -> bytes:
    return b"[" + b",".join([waiting.raw for waiting in batch]) + b"]"


def _fail(waiting: _Waiting, failure: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(failure)


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception():
        _log.critical("the request log stopped", exc_info=task.exception())


def _ignore(batch_size: int, latency_s: float) -> None:
    """Nobody counts."""
