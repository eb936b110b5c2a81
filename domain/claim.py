"""A name that only one may hold, such as an e-mail address. The subject is a keyed hash, never the name."""

from datetime import datetime

import msgspec

from domain.aggregate import Aggregate
from domain.errors import EmailTaken
from domain.ids import AccountId, UserId


class EmailClaimed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="claim.email_claimed.v1"):
    email_hash: str
    user_id: UserId
    account_id: AccountId
    at: datetime


class Claim(msgspec.Struct, frozen=True):
    user_id: UserId | None = None
    account_id: AccountId | None = None


def claim(state: Claim, proposed: EmailClaimed) -> list[EmailClaimed]:
    if state.user_id is None:
        return [proposed]
    if state.user_id == proposed.user_id:
        return []
    raise EmailTaken


def evolve(state: Claim, event: EmailClaimed) -> Claim:
    return Claim(event.user_id, event.account_id)


CLAIM = Aggregate("claim", Claim, evolve)
