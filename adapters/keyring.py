"""The keys that are derived from the master key, one for each purpose, so that none stands in for another."""

import hashlib
import hmac

MASTER_KEY_BYTES = 32


class Keyring:
    """`personal_data` wraps the vault's keys, the next two seal answers that are kept; the others are peppers of keyed
    hashes."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != MASTER_KEY_BYTES:
            raise ValueError(f"a master key has {MASTER_KEY_BYTES} bytes, not {len(master_key)}")
        self.personal_data = _derive(master_key, b"personal data")
        self.kept_answers = _derive(master_key, b"kept answers")
        self.cached_answers = _derive(master_key, b"cached answers")
        self.emails = _derive(master_key, b"e-mail claims")
        self.api_keys = _derive(master_key, b"api keys")
        self.refresh_tokens = _derive(master_key, b"refresh tokens")


class EmailHash:
    """The claim of an e-mail address: the same for the same address, and telling nothing without the pepper."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    def __call__(self, email: str) -> str:
        return hmac.digest(self._pepper, email.encode(), "sha256").hex()


def _derive(master_key: bytes, purpose: bytes) -> bytes:
    """HKDF-Expand (RFC 5869) to one block; the master key is uniformly random already."""
    return hmac.digest(master_key, b"agg " + purpose + b"\x01", hashlib.sha256)
