"""Identifiers: made at the edge, passed in, never parsed for meaning."""

import hashlib
import uuid
from typing import NewType

AccountId = NewType("AccountId", str)
UserId = NewType("UserId", str)
SessionId = NewType("SessionId", str)
KeyId = NewType("KeyId", str)
LeaseId = NewType("LeaseId", str)
RequestId = NewType("RequestId", str)
CommandId = NewType("CommandId", str)

BUCKETS = 256
SYSTEM_ACCOUNT = AccountId("system")

VERSION_7 = 0x7 << 76 | 0x2 << 62
RANDOM_BITS = (1 << 80) - 1 & ~(0xF << 76 | 0x3 << 62)
"""Of the last 80; the others are the version's."""


def uuid7(unix_ms: int, entropy: bytes) -> str:
    """A time-ordered UUID (RFC 9562), in hex, from milliseconds since 1970 and 10 random bytes."""
    random = int.from_bytes(entropy, "big")
    return "%032x" % ((unix_ms & 0xFFFFFFFFFFFF) << 80 | random & RANDOM_BITS | VERSION_7)


def event_id(command_id: CommandId, index: int) -> str:
    """The same command writes the same event ids, so that a retry is recognised."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{command_id}/{index}"))


def bucket_of(ident: str) -> int:
    """0..255, fixed for ever: the first byte of BLAKE2b over the id."""
    return hashlib.blake2b(ident.encode(), digest_size=1).digest()[0]
