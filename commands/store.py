"""Load, decide, append: the one way a command writes facts of aggregates."""

import asyncio
import hashlib
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from domain.aggregate import Address, Aggregate
from domain.errors import AggregatorError, ConcurrentWrite, Unavailable
from domain.events import Envelope, decode_fact, tag_of
from domain.ids import CommandId, event_id
from domain.ports import Append, EventLog, Recorded

State = TypeVar("State")

CACHED_AGGREGATES = 20_000
ATTEMPTS = 40
"""A decision that loses this many races in a row is refused with 503; the jitter below spreads the racers."""
JITTER_S = 0.02


class Cause(msgspec.Struct, frozen=True):
    """Who asked for a write, and what it belongs to. The same `command_id` writes the same event ids."""

    command_id: CommandId
    at: datetime
    actor: str
    correlation_id: str = ""
    causation_id: str = ""


class Versioned(msgspec.Struct, Generic[State], frozen=True):
    """A state with what an append to it must know: version counts events, position is the last one's place."""

    state: State
    version: int = 0
    position: int = 0
    last_hash: str = ""


class Change(msgspec.Struct, Generic[State], frozen=True):
    """One aggregate's part of a command: `decide` gets the state and answers facts, none, or raises a refusal."""

    aggregate: Aggregate[State]
    address: Address
    decide: Callable[[State], Sequence[Any]]


class EventStore:
    """`source` names the writing process in every envelope."""

    def __init__(self, log: EventLog, source: str) -> None:
        self._log = log
        self._source = source
        self._cache: OrderedDict[str, Versioned[Any]] = OrderedDict()

    async def load(self, aggregate: Aggregate[State], address: Address) -> Versioned[State]:
        """As the log has it now: one read, for the last event carries the state."""
        recorded = await self._log.last(address)
        loaded = (
            Versioned(aggregate.initial()) if recorded is None else await self._versioned(aggregate, address, recorded)
        )
        self._remember(address, loaded)
        return loaded

    async def change(
        self, aggregate: Aggregate[State], address: Address, decide: Callable[[State], Sequence[Any]], cause: Cause
    ) -> Versioned[State]:
        """Decide on one aggregate; the state after, with the position of its last event."""
        (after,) = await self.change_all([Change(aggregate, address, decide)], cause)
        return after

    async def change_all(self, changes: Sequence[Change[Any]], cause: Cause) -> list[Versioned[Any]]:
        """Decide on several aggregates and record all their facts, or none.

        A cached state may only lead to facts, which the log's guard verifies. Before a refusal, or the answer that
        nothing needs recording, the state is read anew.
        """
        cached = [self._cache.get(change.address.subject) for change in changes]
        if all(cached):
            planned = self._plan_from_cache(changes, [state for state in cached if state], cause)
            if planned:
                with suppress(ConcurrentWrite):
                    return await self._record(changes, planned)
        for attempt in range(ATTEMPTS):
            loaded = [await self.load(change.aggregate, change.address) for change in changes]
            try:
                return await self._record(changes, self._plan(changes, loaded, cause))
            except ConcurrentWrite:
                await asyncio.sleep(random.random() * JITTER_S * min(attempt + 1, 10))  # noqa: S311  (jitter, no secret)
        raise Unavailable("Too many writers changed this at once; nothing was recorded.", retry_after_s=1)

    def _plan_from_cache(
        self, changes: Sequence[Change[Any]], cached: Sequence[Versioned[Any]], cause: Cause
    ) -> list[tuple[Append, Versioned[Any]]] | None:
        try:
            planned = self._plan(changes, cached, cause)
        except AggregatorError:
            return None
        return planned if all(append.events for append, _ in planned) else None

    def _plan(
        self, changes: Sequence[Change[Any]], loaded: Sequence[Versioned[Any]], cause: Cause
    ) -> list[tuple[Append, Versioned[Any]]]:
        encoder = _Encoder(self._source, cause)
        pairs = list(zip(changes, loaded, strict=True))
        return [encoder.encode(change, before, change.decide(before.state)) for change, before in pairs]

    async def _record(
        self, changes: Sequence[Change[Any]], planned: Sequence[tuple[Append, Versioned[Any]]]
    ) -> list[Versioned[Any]]:
        appends = [append for append, _ in planned if append.events]
        positions = iter(await self._append(appends) if appends else ())
        after = [_at(state, next(positions)) if append.events else state for append, state in planned]
        for change, versioned in zip(changes, after, strict=True):
            self._remember(change.address, versioned)
        return after

    async def _append(self, appends: Sequence[Append]) -> list[int]:
        try:
            return await self._log.append(appends)
        except Exception:
            for append in appends:
                self._cache.pop(append.address.subject, None)
            raise

    async def _versioned(self, aggregate: Aggregate[State], address: Address, recorded: Recorded) -> Versioned[State]:
        try:
            state = _state_after(aggregate, recorded.envelope)
        except msgspec.DecodeError:
            history = await self._log.history(address)
            state = aggregate.fold(decode_fact(event.envelope) for event in history)
        return Versioned(state, recorded.envelope.sequence, recorded.position, hash_of(recorded.raw))

    def _remember(self, address: Address, versioned: Versioned[Any]) -> None:
        self._cache[address.subject] = versioned
        self._cache.move_to_end(address.subject)
        if len(self._cache) > CACHED_AGGREGATES:
            self._cache.popitem(last=False)


def hash_of(raw: bytes) -> str:
    """What the next event of the aggregate carries as `prevhash`."""
    return hashlib.sha256(raw).hexdigest()


class _Encoder:
    """Numbers the events of one command across its aggregates."""

    def __init__(self, source: str, cause: Cause) -> None:
        self._source = source
        self._cause = cause
        self._index = 0

    def encode(
        self, change: Change[Any], before: Versioned[Any], facts: Sequence[Any]
    ) -> tuple[Append, Versioned[Any]]:
        events: list[tuple[str, bytes]] = []
        current = before
        for fact in facts:
            current, ident, raw = self._next(change, current, fact)
            events.append((ident, raw))
        return Append(change.address, before.position, events), current

    def _next(self, change: Change[Any], before: Versioned[Any], fact: Any) -> tuple[Versioned[Any], str, bytes]:
        state = change.aggregate.evolve(before.state, fact)
        ident = event_id(self._cause.command_id, self._index)
        self._index += 1
        raw = msgspec.json.encode(
            Envelope(
                specversion="1.0",
                id=ident,
                source=self._source,
                type=tag_of(fact),
                subject=f"{change.address.kind}/{change.address.ident}",
                time=self._cause.at,
                accountid=getattr(fact, "account_id", "system"),
                sequence=before.version + 1,
                actor=self._cause.actor,
                correlationid=self._cause.correlation_id,
                causationid=self._cause.causation_id,
                prevhash=before.last_hash,
                data=_with_state(fact, state),
            )
        )
        return Versioned(state, before.version + 1, before.position, hash_of(raw)), ident, raw


def _with_state(fact: Any, state: Any) -> msgspec.Raw:
    """The fact's own members and, beside them, the state after it as `after`."""
    return msgspec.Raw(msgspec.json.encode(fact)[:-1] + b',"after":' + msgspec.json.encode(state) + b"}")


def _state_after(aggregate: Aggregate[State], envelope: Envelope) -> State:
    holder = msgspec.json.decode(envelope.data, type=dict[str, msgspec.Raw])
    if "after" not in holder:
        raise msgspec.DecodeError("the event carries no state")
    return msgspec.json.decode(holder["after"], type=aggregate.state_type)


def _at(versioned: Versioned[Any], position: int) -> Versioned[Any]:
    return msgspec.structs.replace(versioned, position=position)
