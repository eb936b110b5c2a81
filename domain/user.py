"""A person who may log in. Personal data is sealed under the person's own key, so that erasing the key erases it."""

import unicodedata
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from domain.aggregate import Aggregate
from domain.errors import InvalidInput, NotFound
from domain.ids import AccountId, UserId

Role = Literal["member", "admin"]

LONGEST_NAME = 200
SHORTEST_PASSWORD = 8
LONGEST_PASSWORD = 256


class UserFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    user_id: UserId
    account_id: AccountId
    at: datetime


class UserRegistered(UserFact, frozen=True, kw_only=True, tag="user.registered.v1"):
    email_sealed: str
    name_sealed: str
    password_sealed: str
    role: Role


class ProfileChanged(UserFact, frozen=True, kw_only=True, tag="user.profile_changed.v1"):
    name_sealed: str


UserEvent: TypeAlias = UserRegistered | ProfileChanged


class User(msgspec.Struct, frozen=True):
    user_id: UserId = UserId("")
    account_id: AccountId = AccountId("")
    email_sealed: str = ""
    name_sealed: str = ""
    password_sealed: str = ""
    role: Role = "member"
    registered_at: datetime | None = None


class Profile(msgspec.Struct, frozen=True):
    """A person's own fields, opened."""

    user_id: UserId
    account_id: AccountId
    email: str
    name: str
    role: Role
    registered_at: datetime


def clean_name(text: str) -> str:
    """A person's name on one line. Raises InvalidInput."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidInput(f"A name has 1 to {LONGEST_NAME} printable characters.", field="name")
    return name


def check_password(password: str, email: str) -> None:
    """Length is what counts; no rules of composition. Raises InvalidInput."""
    if len(password) < SHORTEST_PASSWORD:
        raise InvalidInput(f"A password has at least {SHORTEST_PASSWORD} characters.", field="password")
    if len(password) > LONGEST_PASSWORD:
        raise InvalidInput(f"A password has at most {LONGEST_PASSWORD} characters.", field="password")
    if password.casefold() in (email, email.partition("@")[0]) or len(set(password)) == 1:
        raise InvalidInput("This password is too easy to guess; take another.", field="password")


def register(user: User, proposed: UserRegistered) -> list[UserEvent]:
    return [] if user.user_id else [proposed]


def change_profile(user: User, proposed: ProfileChanged) -> list[UserEvent]:
    if not user.user_id:
        raise NotFound("user", proposed.user_id)
    return [] if user.name_sealed == proposed.name_sealed else [proposed]


def evolve(user: User, event: UserEvent) -> User:
    if isinstance(event, ProfileChanged):
        return msgspec.structs.replace(user, name_sealed=event.name_sealed)
    return User(
        user_id=event.user_id,
        account_id=event.account_id,
        email_sealed=event.email_sealed,
        name_sealed=event.name_sealed,
        password_sealed=event.password_sealed,
        role=event.role,
        registered_at=event.at,
    )


USER = Aggregate("user", User, evolve)
