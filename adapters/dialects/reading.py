"""From a client's bytes to a typed request: what is wrong with them in the client's own words."""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from domain.errors import InvalidInput, UnsupportedParameter

T = TypeVar("T")

OURS = frozenset({"drop_params"})
"""Members that are said to the gateway and to no provider."""
NULL = msgspec.Raw(b"null")

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_PATH = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")


def decoded(
    body: bytes, decoder: Callable[[bytes], T], accepted: Mapping[str, str] = {}
) -> tuple[T, dict[str, msgspec.Raw]]:
    """The typed request and its members, still encoded.

    `accepted` says for the last name of a place (`role`) which values fit there. Raises InvalidInput that names the
    place and, where known, what fits there.
    """
    try:
        str(body, "utf-8")
        return decoder(body), _decode_members(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), accepted) from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The body is not UTF-8 (byte {error.start}).", code="invalid_json") from None
    except RecursionError:
        raise InvalidInput("The body is nested too deeply; flatten it.", code="invalid_json") from None
    except msgspec.DecodeError as error:
        raise InvalidInput(f"The body is not valid JSON: {error}.", code="invalid_json") from None


def said(members: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """What a provider is to read: without nulls, which say nothing, and without what is said to the gateway only."""
    return {name: value for name, value in members.items() if name not in OURS and value != NULL}


def unusual(value: T | None, usual: T) -> T | None:
    """None for a value that asks for what happens anyway, everywhere: not worth a refusal where there is no such
    option."""
    return None if value == usual else value


def refuse_dear_tier(service_tier: str | None) -> None:
    """A tier other than the usual has prices of its own, which the catalogue does not know."""
    if service_tier not in (None, "auto", "default"):
        raise UnsupportedParameter("service_tier", "service_tier: only `auto` and `default` are priced.")


def _invalid(text: str, accepted: Mapping[str, str]) -> InvalidInput:
    """msgspec says `Expected `int`, got `str` - at `$.max_tokens``; the client reads `max_tokens: Expected …`."""
    found = _PATH.search(text)
    field = found["path"] if found else None
    reason = _PATH.sub("", text)
    missing = _MISSING.search(reason)
    if missing:
        field = f"{field}.{missing[1]}" if field else missing[1]
    if field is None:
        return InvalidInput(f"The body: {reason}.")
    remedy = accepted.get(field.rpartition(".")[2]) if "nvalid" in reason else None
    return InvalidInput(f"{field}: {reason}; use {remedy}." if remedy else f"{field}: {reason}.", field=field)
