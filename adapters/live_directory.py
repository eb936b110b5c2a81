"""Who may come in, which models there are, and by what routes and limits they are served, in this process's memory,
kept fresh by a live tail of the log.

Each event carries the state after it, so one message per subject is enough and any message replaces what was known.
What cannot be read is taken out: an unreadable revocation must not leave its key alive. Limits that cannot be read are
not taken for none: until they can be, nobody is told any.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import structlog

from adapters.jetstream_reads import StoredMessage
from adapters.log_reader import CaughtUp
from domain.catalog import MODEL, Model
from domain.declared_deployment import DEPLOYMENT, DeclaredDeployment
from domain.declared_limits import LIMITS, DeclaredLimits, LimitsSet
from domain.declared_route import ROUTE, CatalogRoute, DeclaredRoute
from domain.deployment import Deployment
from domain.errors import Unavailable
from domain.events import decode_envelope
from domain.ids import AccountId, SessionId, UserId
from domain.key import KEY, Key
from domain.session import SESSIONS, Sessions
from domain.user import USER, Role, User

State = TypeVar("State")
Item = TypeVar("Item")

FOLLOWED = (KEY, SESSIONS, USER, MODEL, DEPLOYMENT, ROUTE, LIMITS)
FILTERS = tuple(f"evt.*.{aggregate.kind}.*" for aggregate in FOLLOWED)
"""The subjects to follow."""

logger = structlog.get_logger()


class Heartbeat(Protocol):
    @property
    def last_heard(self) -> float:
        """When the log last said anything, on the monotonic clock."""
        ...


class Tail(Heartbeat, Protocol):
    """The latest message of each subject, a mark, then every new one."""

    def messages(self) -> AsyncIterator[StoredMessage | CaughtUp]: ...


class LiveSession(msgspec.Struct, frozen=True):
    """`expires_at_s` is seconds since 1970."""

    user_id: UserId
    account_id: AccountId
    expires_at_s: float


class _Data(msgspec.Struct, Generic[State], frozen=True):
    after: State


class _ByName(Generic[Item]):
    """What the catalogue declares, by name; the log knows it by another id."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self._name_of: dict[str, str] = {}

    def put(self, ident: str, name: str, item: Item) -> None:
        self.items[name], self._name_of[ident] = item, name

    def take_out(self, ident: str) -> None:
        if (known := self._name_of.pop(ident, None)) is not None:
            self.items.pop(known, None)


class LiveDirectory:
    """`version` is another number after each change of models, deployments or routes."""

    def __init__(self) -> None:
        self.version = 0
        self._keys: dict[bytes, Key] = {}
        self._hash_of: dict[str, bytes] = {}
        self._sessions: dict[SessionId, LiveSession] = {}
        self._sessions_of: dict[str, tuple[SessionId, ...]] = {}
        self._roles: dict[UserId, Role] = {}
        self._models = _ByName[Model]()
        self._deployments = _ByName[Deployment]()
        self._routes = _ByName[CatalogRoute]()
        self._limits: dict[str, LimitsSet] = {}
        self._all_limits: tuple[LimitsSet, ...] = ()
        self._unreadable_limits: set[str] = set()
        self._versions: dict[str, int] = {}
        self._heartbeat: Heartbeat | None = None
        self._changed = asyncio.Event()
        self._kinds: dict[str, tuple[msgspec.json.Decoder[Any], Callable[[str, Any], None]]] = {
            KEY.kind: (msgspec.json.Decoder(_Data[Key]), self._set_key),
            SESSIONS.kind: (msgspec.json.Decoder(_Data[Sessions]), self._set_sessions),
            USER.kind: (msgspec.json.Decoder(_Data[User]), self._set_user),
            MODEL.kind: (msgspec.json.Decoder(_Data[Model]), self._set_model),
            DEPLOYMENT.kind: (msgspec.json.Decoder(_Data[DeclaredDeployment]), self._set_deployment),
            ROUTE.kind: (msgspec.json.Decoder(_Data[DeclaredRoute]), self._set_route),
            LIMITS.kind: (msgspec.json.Decoder(_Data[DeclaredLimits]), self._set_limits),
        }

    # Reading. No I/O, no copies.

    def key_by_hash(self, digest: bytes) -> Key | None:
        """Revoked and expired keys too."""
        return self._keys.get(digest)

    def is_revoked(self, key_id: str) -> bool:
        """Also when it was never heard of."""
        digest = self._hash_of.get(key_id)
        return digest is None or self._keys[digest].revoked_at is not None

    def session(self, session_id: SessionId) -> LiveSession | None:
        """None once it is closed. It may have expired."""
        return self._sessions.get(session_id)

    def role(self, user_id: UserId) -> Role | None:
        return self._roles.get(user_id)

    def models(self) -> Mapping[str, Model]:
        return self._models.items

    def model(self, name: str) -> Model | None:
        return self._models.items.get(name)

    def deployments(self) -> Mapping[str, Deployment]:
        return self._deployments.items

    def routes(self) -> Mapping[str, CatalogRoute]:
        return self._routes.items

    def limits(self) -> Sequence[LimitsSet]:
        """Raises Unavailable while there are some that this process cannot read."""
        if self._unreadable_limits:
            raise Unavailable("Some limits of the catalogue cannot be read here; the operator must set them anew.")
        return self._all_limits

    @property
    def caught_up(self) -> bool:
        """Whether all that was in the log at the start of the tail has arrived."""
        return self._heartbeat is not None

    def is_fresh(self, max_age_s: float) -> bool:
        """Whether the tail, once it was complete, was heard of so recently."""
        return self._heartbeat is not None and time.monotonic() - self._heartbeat.last_heard <= max_age_s

    async def until(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for a change that makes it hold; whether it does in the end."""
        give_up = time.monotonic() + timeout_s
        while not holds():
            left_s = give_up - time.monotonic()
            if left_s <= 0:
                return False
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
        return True

    # Writing.

    async def follow(self, tail: Tail) -> None:
        """Until the tail ends. What was known stays, and grows stale, until another one has caught up."""
        async for message in tail.messages():
            if isinstance(message, CaughtUp):
                self.rely_on(tail)
            else:
                self.apply(message.subject, message.raw)

    def rely_on(self, heartbeat: Heartbeat) -> None:
        """All there was has been applied; from now on this heartbeat tells how fresh we are."""
        self._heartbeat = heartbeat
        self._wake()

    def apply(self, subject: str, raw: bytes) -> None:
        """Any number of times, in any order of old and new: the newest version counts. Other kinds are ignored."""
        _, _, kind, ident = subject.split(".", 3)
        if kind not in self._kinds:
            return
        decoder, update = self._kinds[kind]
        try:
            envelope = decode_envelope(raw)
            if envelope.sequence <= self._versions.get(subject, 0):
                return
            self._versions[subject] = envelope.sequence
            update(ident, decoder.decode(envelope.data).after)
        except (msgspec.DecodeError, ValueError) as unreadable:
            logger.error("directory_entry_unreadable", subject=subject, reason=str(unreadable))
            update(ident, None)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _set_key(self, ident: str, key: Key | None) -> None:
        if (known := self._hash_of.pop(ident, None)) is not None:
            self._keys.pop(known, None)
        if key is not None:
            digest = bytes.fromhex(key.secret_hash)
            self._keys[digest], self._hash_of[ident] = key, digest

    def _set_sessions(self, ident: str, sessions: Sessions | None) -> None:
        for session_id in self._sessions_of.pop(ident, ()):
            self._sessions.pop(session_id, None)
        if sessions is None or not sessions.open:
            return
        self._sessions_of[ident] = tuple(sessions.open)
        for session_id, session in sessions.open.items():
            expires_at_s = session.expires_at.timestamp()
            self._sessions[session_id] = LiveSession(UserId(ident), sessions.account_id, expires_at_s)

    def _set_user(self, ident: str, user: User | None) -> None:
        if user is None:
            self._roles.pop(UserId(ident), None)
        else:
            self._roles[user.user_id] = user.role

    def _set_model(self, ident: str, model: Model | None) -> None:
        self.version += 1
        self._models.take_out(ident)
        if model is not None:
            self._models.put(ident, model.model, model)

    def _set_deployment(self, ident: str, declared: DeclaredDeployment | None) -> None:
        self.version += 1
        self._deployments.take_out(ident)
        if declared is not None and declared.deployment is not None:
            self._deployments.put(ident, declared.deployment.name, declared.deployment)

    def _set_route(self, ident: str, declared: DeclaredRoute | None) -> None:
        self.version += 1
        self._routes.take_out(ident)
        if declared is not None and declared.current is not None:
            self._routes.put(ident, declared.current.route.name, declared.current)

    def _set_limits(self, ident: str, declared: DeclaredLimits | None) -> None:
        self._limits.pop(ident, None)
        self._unreadable_limits.discard(ident)
        if declared is None:
            self._unreadable_limits.add(ident)
        elif declared.told is not None:
            self._limits[ident] = declared.told
        self._all_limits = tuple(self._limits.values())
