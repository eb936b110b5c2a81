"""API keys: `agg_live_`, 30 random characters, and 6 that are the CRC32 of what precedes them.

The prefix lets secret scanners find a leaked key; the checksum tells a typo from a revoked key without a look-up;
there is nothing to break on at a double click.
"""

import hmac
import re
import secrets
import string
import zlib

from domain.ports import NewKey

PREFIX = "agg_live_"
RANDOM_CHARS = 30
CHECKSUM_CHARS = 6
SHOWN_CHARS = len(PREFIX) + 4
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase

_SHAPE = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_CHARS + CHECKSUM_CHARS}}}")


class HmacApiKeys:
    """Supplies `ApiKeys`, and the keyed hash that a key is known by."""

    def __init__(self, pepper: bytes) -> None:
        """What depends on the pepper alone is hashed once. Digests are not remembered: that would keep secrets."""
        self._keyed = hmac.new(pepper, digestmod="sha256")

    def make(self) -> NewKey:
        body = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARS))
        secret = body + checksum(body)
        return NewKey(secret, self.digest(secret.encode()).hex(), secret[:SHOWN_CHARS], secret[-4:])

    def digest(self, secret: bytes) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(secret)
        return keyed.digest()


def has_shape(secret: str) -> bool:
    return _SHAPE.fullmatch(secret) is not None


def is_mistyped(secret: str) -> bool:
    """Of a text that has the shape of a key."""
    return checksum(secret[:-CHECKSUM_CHARS]) != secret[-CHECKSUM_CHARS:]


def checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    digits: list[str] = []
    for _ in range(CHECKSUM_CHARS):
        value, digit = divmod(value, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
