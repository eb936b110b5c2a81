"""AES-256-GCM in two layers: a data key per person, wrapped by a key of ours. Pure; `vault` keeps the wrapped keys."""

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
DATA_KEY_BYTES = 32
VERSION = "v1"


class SealBroken(Exception):
    """Altered, or sealed under another key, for another owner or for another field."""


class DataKey:
    """One person's key."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, owner: str, field: str, plaintext: str) -> str:
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._aead.encrypt(nonce, plaintext.encode(), _bound_to(owner, field))
        return f"{VERSION}.{base64.urlsafe_b64encode(sealed).rstrip(b'=').decode()}"

    def open(self, owner: str, field: str, sealed: str) -> str:
        """Raises SealBroken."""
        version, _, encoded = sealed.partition(".")
        try:
            raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            if version != VERSION:
                raise SealBroken
            return self._aead.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound_to(owner, field)).decode()
        except (InvalidTag, ValueError):
            raise SealBroken from None


class MasterKey:
    """Makes data keys and wraps them for one owner each."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def new_wrapped_key(self, owner: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return VERSION.encode() + nonce + self._aead.encrypt(nonce, os.urandom(DATA_KEY_BYTES), owner.encode())

    def unwrap(self, owner: str, wrapped: bytes) -> DataKey:
        """Raises SealBroken."""
        version, nonce = wrapped[: len(VERSION)], wrapped[len(VERSION) : len(VERSION) + NONCE_BYTES]
        try:
            if version != VERSION.encode():
                raise SealBroken
            return DataKey(self._aead.decrypt(nonce, wrapped[len(VERSION) + NONCE_BYTES :], owner.encode()))
        except (InvalidTag, ValueError):
            raise SealBroken from None


def _bound_to(owner: str, field: str) -> bytes:
    return f"{owner}\x00{field}".encode()
