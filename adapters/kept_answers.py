"""What the store of idempotency keys writes: keyed names, and answers that are compressed and sealed. Pure.

Names are keyed hashes, since a fingerprint is of a body that may hold a password, and plain hashes can be guessed.
Every answer has a key of its own, derived from where it is kept; it opens only for its account, place, request and
fingerprint, and only whole.
"""

import hmac
import os
import zlib

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.sealing import NONCE_BYTES, SealBroken
from domain.idempotency import Claim, Fingerprint, IdempotencyKey, KeptAnswer

SECRET_BYTES = 32
PLACE_CHARS = 32
FASTEST = 1

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(KeptAnswer).decode


class AnswerSeal:
    """`secret` is derived from the master key for this purpose alone."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"the secret of idempotency keys has {SECRET_BYTES} bytes, not {len(secret)}")
        self._places = hmac.digest(secret, b"places", "sha256")
        self._fingerprints = hmac.digest(secret, b"fingerprints", "sha256")
        self._answers = hmac.digest(secret, b"answers", "sha256")

    def place(self, scope: str, route: str, key: IdempotencyKey) -> str:
        """A subject token that tells nothing of the key."""
        return hmac.digest(self._places, _encode((scope, route, key)), "sha256").hex()[:PLACE_CHARS]

    def keyed(self, place: str, fingerprint: Fingerprint) -> str:
        return hmac.digest(self._fingerprints, _encode((place, fingerprint)), "sha256").hex()

    def seal(self, claim: Claim, answer: KeptAnswer) -> bytes:
        """The nonce, then the ciphertext."""
        nonce = os.urandom(NONCE_BYTES)
        packed = zlib.compress(_encode(answer), FASTEST)
        return nonce + self._cipher(claim).encrypt(nonce, packed, _bound_to(claim))

    def open(self, claim: Claim, sealed: bytes) -> KeptAnswer:
        """Raises SealBroken."""
        try:
            packed = self._cipher(claim).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound_to(claim))
            return _decode(zlib.decompress(packed))
        except (InvalidTag, ValueError, zlib.error, msgspec.DecodeError):
            raise SealBroken from None

    def _cipher(self, claim: Claim) -> AESGCM:
        return AESGCM(hmac.digest(self._answers, claim.place.encode(), "sha256"))


def _bound_to(claim: Claim) -> bytes:
    return _encode((claim.scope, claim.place, claim.request_id, claim.fingerprint))
