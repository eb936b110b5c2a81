"""What an API key looks like, and what its checksum finds."""

import hmac
import random

from hypothesis import given
from hypothesis import strategies as st

from adapters.api_keys import ALPHABET, HmacApiKeys, checksum, has_shape, is_mistyped

KEYS = HmacApiKeys(b"pepper")


def test_a_key_has_prefix_randomness_and_checksum() -> None:
    made = KEYS.make()

    assert made.secret.startswith("agg_live_") and len(made.secret) == 9 + 30 + 6
    assert has_shape(made.secret) and not is_mistyped(made.secret)
    assert made.prefix == made.secret[:13] and made.last4 == made.secret[-4:]
    assert made.secret_hash == KEYS.digest(made.secret.encode()).hex()


def test_the_checksum_is_fixed_for_ever() -> None:
    assert checksum("agg_live_000000000000000000000000000000") == "3f78JS"


def test_every_changed_character_is_found() -> None:
    secret = KEYS.make().secret
    for place in range(9, len(secret)):
        other = random.choice(ALPHABET.replace(secret[place], ""))
        assert is_mistyped(secret[:place] + other + secret[place + 1 :])


def test_a_key_tells_nothing_when_printed() -> None:
    made = KEYS.make()

    assert made.secret not in repr(made) and made.secret_hash not in repr(made)


def test_another_pepper_makes_another_hash() -> None:
    assert HmacApiKeys(b"other").digest(b"secret") != KEYS.digest(b"secret")


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_key_is_known_by_its_hmac_under_the_pepper(pepper: bytes, secret: bytes) -> None:
    """What is stored was made so, and is found for ever."""
    assert HmacApiKeys(pepper).digest(secret) == hmac.digest(pepper, secret, "sha256")


def test_a_hash_does_not_depend_on_those_made_before() -> None:
    assert [KEYS.digest(secret) for secret in (b"one", b"other", b"one")] == [
        hmac.digest(b"pepper", secret, "sha256") for secret in (b"one", b"other", b"one")
    ]
