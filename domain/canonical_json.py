"""JSON by its meaning: texts that mean the same have the same digest, texts that do not have different ones.

The order of members, white space and the way in which strings are escaped mean nothing, and 1, 1.0 and 1e0 are one
number. A number with a fraction or an exponent means its nearest double, as for every provider; one without means all
its digits. Strings are compared as they are, without Unicode normalisation.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import NoReturn, cast

import msgspec

EXACT_INTEGERS = 2**53
"""Up to here a double that is whole is that integer and no other."""


class Ambiguous(Exception):
    """Its readers may differ about what it means: a member twice in one object, a number that no double holds, not
    JSON at all. Or it is nested too deeply to say."""


def meaning(text: bytes) -> object:
    """What a JSON text means, in Python's types. Raises Ambiguous."""
    try:
        return _decode(text.decode())
    except (ValueError, RecursionError):
        raise Ambiguous from None


def meanings(texts: Sequence[bytes]) -> list[object]:
    """What each of several JSON values means: in one go, for a third of the time. Raises Ambiguous."""
    value = meaning(b"[" + b",".join(texts) + b"]")
    if not isinstance(value, list) or len(found := cast("list[object]", value)) != len(texts):
        raise Ambiguous
    return found


def digest(value: object) -> str:
    """SHA-256, in hexadecimals, over what `meaning` made, or lists and strings around it. Raises Ambiguous."""
    try:
        return hashlib.sha256(_encode(value)).hexdigest()
    except (ValueError, RecursionError):
        raise Ambiguous from None


def _number(literal: str) -> int | float:
    value = float(literal)
    if value in (float("inf"), float("-inf")):
        raise ValueError(literal)
    return int(value) if value.is_integer() and abs(value) <= EXACT_INTEGERS else value


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    """Of two members of one name some readers take the first and some the last: whoever shares an answer with others
    could make them believe that it answers the other one."""
    value = dict(members)
    if len(value) != len(members):
        raise ValueError("a member twice")
    return value


def _no_number(literal: str) -> NoReturn:
    raise ValueError(literal)


_decode = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number, parse_constant=_no_number).decode
_encode = msgspec.json.Encoder(order="sorted").encode
