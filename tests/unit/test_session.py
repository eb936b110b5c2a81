"""Sessions and their refresh tokens: of all tokens ever made, at most the newest leads on."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies

from domain.errors import SessionEnded
from domain.ids import AccountId, SessionId, UserId
from domain.session import (
    REPLAY_WINDOW,
    SESSIONS,
    SESSIONS_KEPT,
    SessionClosed,
    SessionEvent,
    SessionOpened,
    SessionRefreshed,
    Sessions,
    close_all,
    close_session,
    open_session,
    refresh,
)

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LIFETIME = timedelta(days=30)


def opened(ident: str = "s0", at: datetime = T0) -> SessionOpened:
    return SessionOpened(
        user_id=UserId("u"),
        account_id=AccountId("a"),
        session_id=SessionId(ident),
        at=at,
        salt="salt",
        expires_at=at + LIFETIME,
    )


def spending(generation: int, at: datetime, ident: str = "s0") -> SessionRefreshed:
    """What is proposed when the token of `generation` comes in."""
    return SessionRefreshed(
        user_id=UserId("u"),
        account_id=AccountId("a"),
        session_id=SessionId(ident),
        at=at,
        generation=generation + 1,
        expires_at=at + LIFETIME,
    )


def closed(ident: str = "s0", at: datetime = T0) -> SessionClosed:
    return SessionClosed(
        user_id=UserId("u"), account_id=AccountId("a"), session_id=SessionId(ident), at=at, reason="logout"
    )


def history(*events: SessionEvent) -> Sessions:
    return SESSIONS.fold(events)


def after(sessions: Sessions, proposed: SessionRefreshed) -> tuple[Sessions, list[SessionEvent]]:
    facts = refresh(sessions, proposed)
    return SESSIONS.fold(facts, sessions), facts


def test_the_newest_token_is_rotated() -> None:
    assert refresh(history(opened()), spending(0, T0)) == [spending(0, T0)]


def test_a_token_spent_a_moment_ago_gets_the_same_successor() -> None:
    sessions = history(opened(), spending(0, T0))

    assert refresh(sessions, spending(0, T0 + REPLAY_WINDOW)) == []


def test_a_token_spent_before_the_window_closes_its_session() -> None:
    sessions = history(opened(), spending(0, T0))

    _, facts = after(sessions, spending(0, T0 + REPLAY_WINDOW + timedelta(microseconds=1)))

    assert [type(fact) for fact in facts] == [SessionClosed]


def test_a_token_whose_successor_was_used_closes_its_session_even_within_the_window() -> None:
    sessions = history(opened(), spending(0, T0), spending(1, T0))

    _, facts = after(sessions, spending(0, T0))

    assert [fact.reason for fact in facts if isinstance(fact, SessionClosed)] == ["refresh_reuse"]


def test_an_expired_session_is_refreshed_no_more() -> None:
    with pytest.raises(SessionEnded):
        refresh(history(opened()), spending(0, T0 + LIFETIME))


def test_opening_one_too_many_ends_the_oldest() -> None:
    sessions = history(*(opened(f"s{number}") for number in range(SESSIONS_KEPT)))

    facts = open_session(sessions, opened("new"))

    assert [(fact.session_id, fact.reason) for fact in facts if isinstance(fact, SessionClosed)] == [
        ("s0", "superseded")
    ]
    assert len(SESSIONS.fold(facts, sessions).open) == SESSIONS_KEPT


def test_closing_twice_records_once() -> None:
    sessions = history(opened())

    assert close_session(sessions, closed()) == [closed()]
    assert close_session(history(opened(), closed()), closed()) == []


def test_closing_all_leaves_none_open() -> None:
    sessions = history(opened("s0"), opened("s1"))

    assert not SESSIONS.fold(close_all(sessions, closed()), sessions).open


ACTIONS = strategies.lists(
    strategies.tuples(
        strategies.sampled_from(["refresh", "refresh", "refresh", "logout", "login"]),
        strategies.integers(0, 6),
        strategies.sampled_from([0, 1, 9, 10, 11, 3600]),
    ),
    max_size=30,
)


@given(ACTIONS)
def test_no_interleaving_leaves_two_generations_alive(actions: list[tuple[str, int, int]]) -> None:
    """Tokens come in at any time and in any order; every generation that was ever handed out is tried after each."""
    sessions, at = history(opened()), T0
    for action, generation, wait_s in actions:
        at += timedelta(seconds=wait_s)
        known = sessions.open.get(SessionId("s0"))
        if action == "login":
            sessions = SESSIONS.fold(open_session(sessions, opened("s1", at)), sessions)
        elif action == "logout":
            sessions = SESSIONS.fold(close_session(sessions, closed(at=at)), sessions)
        elif known and generation <= known.generation:
            sessions, _ = after(sessions, spending(generation, at))
        assert len(leading_on(sessions, at)) <= 1
        if known is None:
            assert SessionId("s0") not in sessions.open, "a closed session came back"


def leading_on(sessions: Sessions, at: datetime) -> list[int]:
    """The generations whose token would be rotated now."""
    session = sessions.open.get(SessionId("s0"))
    if session is None:
        return []
    tried = [(generation, after(sessions, spending(generation, at))[1]) for generation in range(session.generation + 1)]
    return [generation for generation, facts in tried if any(isinstance(fact, SessionRefreshed) for fact in facts)]
