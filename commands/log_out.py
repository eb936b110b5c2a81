"""A person logs out: of this session, or of all."""

import msgspec

from commands.store import Cause, EventStore
from domain.ids import AccountId, SessionId, UserId
from domain.session import SESSIONS, SessionClosed, close_all, close_session


class LogOut(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UserId
    account_id: AccountId
    session_id: SessionId
    everywhere: bool = False


class LogOutHandler:
    """Being out already is no error. Answers the position of the user's last session event."""

    def __init__(self, *, store: EventStore) -> None:
        self._store = store

    async def handle(self, command: LogOut, cause: Cause) -> int:
        closed = SessionClosed(
            user_id=command.user_id,
            account_id=command.account_id,
            session_id=command.session_id,
            at=cause.at,
            reason="logout",
        )
        decision = close_all if command.everywhere else close_session
        address = SESSIONS.at(command.user_id, owner=command.account_id)
        after = await self._store.change(SESSIONS, address, lambda sessions: decision(sessions, closed), cause)
        return after.position
