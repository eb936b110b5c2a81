"""A person who may log in. Personal data is sealed under the person's own key, so that erasing the key erases it."""

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from domain.aggregate import Aggregate
from domain.ids import AccountId, UserId

Role = Literal["member", "admin"]


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


def register(user: User, proposed: UserRegistered) -> list[UserEvent]:
    return [] if user.user_id else [proposed]


def change_profile(user: User, proposed: ProfileChanged) -> list[UserEvent]:
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
