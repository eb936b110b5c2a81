"""A name that only one may hold, such as an e-mail address. The subject is a keyed hash, never the name."""

import re
import unicodedata
from datetime import datetime

import msgspec

from domain.aggregate import Aggregate
from domain.errors import EmailTaken, InvalidInput
from domain.ids import AccountId, UserId

LONGEST_EMAIL = 254
LONGEST_LOCAL_PART = 64
_LOCAL_PART = re.compile(r"[^\s@\x00-\x20\x7f\"(),:;<>\[\\\]]+")
_DOMAIN = re.compile(r"[^\W_](?:[\w-]*[^\W_])?(?:\.[^\W_](?:[\w-]*[^\W_])?)+")


class EmailClaimed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="claim.email_claimed.v1"):
    email_hash: str
    user_id: UserId
    account_id: AccountId
    at: datetime


class Claim(msgspec.Struct, frozen=True):
    user_id: UserId | None = None
    account_id: AccountId | None = None


def normalise_email(text: str) -> str:
    """One spelling of an address, so that one mailbox has one account. Raises InvalidInput."""
    email = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.strip()).casefold())
    local, _, domain = email.rpartition("@")
    if len(email) > LONGEST_EMAIL or len(local) > LONGEST_LOCAL_PART:
        raise InvalidInput("This e-mail address is too long.", field="email")
    if not _is_local_part(local) or not _DOMAIN.fullmatch(domain):
        raise InvalidInput("This is no e-mail address; it looks like name@example.com.", field="email")
    return email


def _is_local_part(local: str) -> bool:
    return bool(_LOCAL_PART.fullmatch(local)) and not local.startswith(".") and not local.endswith(".")


def claim(state: Claim, proposed: EmailClaimed) -> list[EmailClaimed]:
    if state.user_id is None:
        return [proposed]
    if state.user_id == proposed.user_id:
        return []
    raise EmailTaken


def evolve(state: Claim, event: EmailClaimed) -> Claim:
    return Claim(event.user_id, event.account_id)


CLAIM = Aggregate("claim", Claim, evolve)
