"""A client trades its refresh token for new tokens. A token that was spent before ends its session."""

from datetime import timedelta

import msgspec

from commands.store import Cause, EventStore
from domain.errors import InvalidToken, RefreshReused, SessionEnded
from domain.ports import SessionTokens, TokenPair
from domain.session import SESSIONS, SessionEvent, SessionRef, SessionRefreshed, Sessions, refresh


class RefreshSession(msgspec.Struct, frozen=True, kw_only=True):
    refresh_token: str

    def __repr__(self) -> str:
        return "RefreshSession(…)"


class SessionContinued(msgspec.Struct, frozen=True, kw_only=True):
    ref: SessionRef
    tokens: TokenPair
    position: int


class RefreshSessionHandler:
    """Raises InvalidToken, SessionEnded, RefreshReused (after recording it), Unavailable."""

    def __init__(self, *, store: EventStore, tokens: SessionTokens, lifetime: timedelta) -> None:
        self._store = store
        self._tokens = tokens
        self._lifetime = lifetime

    async def handle(self, command: RefreshSession, cause: Cause) -> SessionContinued:
        spent = self._tokens.read_refresh(command.refresh_token)
        proposed = SessionRefreshed(
            user_id=spent.user_id,
            account_id=spent.account_id,
            session_id=spent.session_id,
            at=cause.at,
            generation=spent.generation + 1,
            expires_at=cause.at + self._lifetime,
        )

        def decide(sessions: Sessions) -> list[SessionEvent]:
            self._check_genuine(command.refresh_token, sessions, spent)
            return refresh(sessions, proposed)

        after = await self._store.change(SESSIONS, SESSIONS.at(spent.user_id, owner=spent.account_id), decide, cause)
        session = after.state.open.get(spent.session_id)
        if session is None:
            raise RefreshReused
        ref = msgspec.structs.replace(spent, generation=session.generation)
        return SessionContinued(ref=ref, tokens=self._tokens.issue(ref, session, cause.at), position=after.position)

    def _check_genuine(self, token: str, sessions: Sessions, spent: SessionRef) -> None:
        """Before any decision: a forged token must not be able to end a session."""
        session = sessions.open.get(spent.session_id)
        if session is None:
            raise SessionEnded
        if not self._tokens.is_genuine(token, session):
            raise InvalidToken("This refresh token was cut or altered.")
