"""Cached answers as they are stored: compressed where that is worth it, then AES-256-GCM under a key of their scope and
generation.

A generation is a secret that is kept beside the answers. Once it is replaced, nothing that was sealed under it can be
opened again, by us or by anyone who has the master key.
"""

import hashlib
import hmac
import os
import zlib
from functools import lru_cache

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.sealing import NONCE_BYTES, SealBroken
from domain.response_cache import LARGEST_ANSWER_BYTES, CachedAnswer, CacheKey

PLAIN, COMPRESSED = b"a2", b"a1"
"""The first bytes, before the nonce."""
WORTH_COMPRESSING_BYTES = 4096
GENERATION_BYTES = 16
FASTEST = 1
LARGEST_UNPACKED_BYTES = 2 * LARGEST_ANSWER_BYTES
"""An answer's other members are small."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(CachedAnswer).decode


def new_generation() -> bytes:
    return os.urandom(GENERATION_BYTES)


def seal_answer(sealing_key: bytes, key: CacheKey, generation: bytes, answer: CachedAnswer) -> bytes:
    nonce, packed, form = os.urandom(NONCE_BYTES), _encode(answer), PLAIN
    if len(packed) >= WORTH_COMPRESSING_BYTES:
        packed, form = zlib.compress(packed, FASTEST), COMPRESSED
    return form + nonce + _aead(sealing_key, key.scope, generation).encrypt(nonce, packed, _bound_to(key, form))


def open_answer(sealing_key: bytes, key: CacheKey, generation: bytes, sealed: bytes) -> CachedAnswer:
    """Raises SealBroken for what was altered, or sealed for another key, scope or generation."""
    form, start = sealed[: len(PLAIN)], len(PLAIN) + NONCE_BYTES
    if form not in (PLAIN, COMPRESSED):
        raise SealBroken
    try:
        nonce = sealed[len(PLAIN) : start]
        packed = _aead(sealing_key, key.scope, generation).decrypt(nonce, sealed[start:], _bound_to(key, form))
        if form == COMPRESSED:
            packed = zlib.decompressobj().decompress(packed, LARGEST_UNPACKED_BYTES)
        return _decode(packed)
    except (InvalidTag, ValueError, zlib.error, msgspec.MsgspecError):
        raise SealBroken from None


@lru_cache(maxsize=1_024)
def _aead(sealing_key: bytes, scope: str, generation: bytes) -> AESGCM:
    """HKDF-Expand (RFC 5869) to one block. A generation has a fixed length, so that nothing else reads as the same."""
    return AESGCM(hmac.digest(sealing_key, generation + scope.encode() + b"\x01", hashlib.sha256))


def _bound_to(key: CacheKey, form: bytes) -> bytes:
    return form + f"{key.scope}\x00{key.digest}".encode()
