"""What registering and logging in share: a session is proposed, and once recorded its tokens are made."""

from collections.abc import Callable
from datetime import datetime, timedelta

from domain.ids import AccountId, SessionId, UserId
from domain.ports import SessionTokens, TokenPair
from domain.session import SessionOpened, SessionRef, Sessions


class SessionOpener:
    """`lifetime` is how long a session lives without being refreshed."""

    def __init__(self, tokens: SessionTokens, new_id: Callable[[], str], lifetime: timedelta) -> None:
        self._tokens = tokens
        self._new_id = new_id
        self._lifetime = lifetime

    def propose(self, user_id: UserId, account_id: AccountId, at: datetime) -> SessionOpened:
        return SessionOpened(
            user_id=user_id,
            account_id=account_id,
            session_id=SessionId(self._new_id()),
            at=at,
            salt=self._tokens.new_salt(),
            expires_at=at + self._lifetime,
        )

    def tokens_for(self, opened: SessionOpened, sessions: Sessions) -> TokenPair:
        ref = SessionRef(opened.user_id, opened.account_id, opened.session_id)
        return self._tokens.issue(ref, sessions.open[opened.session_id], opened.at)
