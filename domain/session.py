"""All log-ins of one user. A refresh token names a session and a generation; only the newest generation counts."""

from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import msgspec

from domain.aggregate import Aggregate
from domain.errors import SessionEnded
from domain.ids import AccountId, SessionId, UserId

REPLAY_WINDOW = timedelta(seconds=10)
"""Two tabs that refresh at once look like theft; the loser gets the winner's token if it asks this soon."""

SESSIONS_KEPT = 32
"""Open sessions of one user; opening one more ends the oldest."""

EndReason = Literal["logout", "refresh_reuse", "superseded"]


class SessionFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    user_id: UserId
    account_id: AccountId
    session_id: SessionId
    at: datetime


class SessionOpened(SessionFact, frozen=True, kw_only=True, tag="session.opened.v1"):
    """A log-in. `salt` makes this session's refresh tokens its own."""

    salt: str
    expires_at: datetime


class SessionRefreshed(SessionFact, frozen=True, kw_only=True, tag="session.refreshed.v1"):
    generation: int
    expires_at: datetime


class SessionClosed(SessionFact, frozen=True, kw_only=True, tag="session.closed.v1"):
    reason: EndReason


SessionEvent: TypeAlias = SessionOpened | SessionRefreshed | SessionClosed


class SessionRef(msgspec.Struct, frozen=True):
    """Which log-in, and which of its refresh tokens."""

    user_id: UserId
    account_id: AccountId
    session_id: SessionId
    generation: int = 0


class Session(msgspec.Struct, frozen=True):
    salt: str
    expires_at: datetime
    generation: int = 0
    refreshed_at: datetime | None = None


class Sessions(msgspec.Struct, frozen=True):
    account_id: AccountId = AccountId("")
    open: dict[SessionId, Session] = {}


def open_session(sessions: Sessions, proposed: SessionOpened) -> list[SessionEvent]:
    if proposed.session_id in sessions.open:
        return []
    live = [ident for ident, session in sessions.open.items() if session.expires_at > proposed.at]
    surplus = live[: max(0, len(live) - SESSIONS_KEPT + 1)]
    return [*(_closed(proposed, ident, "superseded") for ident in surplus), proposed]


def refresh(sessions: Sessions, proposed: SessionRefreshed) -> list[SessionEvent]:
    """`[]` when another caller just rotated the same token; a spent token closes its session.

    Raises SessionEnded for a session that is closed or expired.
    """
    session = sessions.open.get(proposed.session_id)
    if session is None or session.expires_at <= proposed.at:
        raise SessionEnded
    if proposed.generation == session.generation + 1:
        return [proposed]
    just_rotated = (
        proposed.generation == session.generation
        and session.refreshed_at is not None
        and proposed.at - session.refreshed_at <= REPLAY_WINDOW
    )
    return [] if just_rotated else [_closed(proposed, proposed.session_id, "refresh_reuse")]


def close_session(sessions: Sessions, proposed: SessionClosed) -> list[SessionEvent]:
    return [proposed] if proposed.session_id in sessions.open else []


def close_all(sessions: Sessions, proposed: SessionClosed) -> list[SessionEvent]:
    """Every session of the user, whichever asked for it."""
    return [_closed(proposed, ident, proposed.reason) for ident in sessions.open]


def _closed(cause: SessionFact, session_id: SessionId, reason: EndReason) -> SessionClosed:
    return SessionClosed(
        user_id=cause.user_id, account_id=cause.account_id, session_id=session_id, at=cause.at, reason=reason
    )


def evolve(sessions: Sessions, event: SessionEvent) -> Sessions:
    live = {ident: session for ident, session in sessions.open.items() if session.expires_at > event.at}
    if isinstance(event, SessionOpened):
        live[event.session_id] = Session(event.salt, event.expires_at)
    elif isinstance(event, SessionRefreshed):
        if session := live.get(event.session_id):
            live[event.session_id] = Session(session.salt, event.expires_at, event.generation, event.at)
    else:
        live.pop(event.session_id, None)
    return Sessions(event.account_id, live)


SESSIONS = Aggregate("session", Sessions, evolve)
