"""What a request's `Cache-Control` (RFC 9111) says about answers that were given before."""

import re

import msgspec

LONGEST_HEADER = 1_024
LONGEST_AGE_S = 2**31
"""RFC 9111, 1.2.2: what is greater is taken for this."""

_DIRECTIVE = re.compile(rb"""([\w!#$%&'*+.^`|~-]+)[ \t]*(?:=[ \t]*("(?:[^"\\]|\\.)*"|[^\s,]*))?""", re.ASCII)


class Directive(msgspec.Struct, frozen=True):
    """`may_read`: an earlier answer will do, if it is not older than `max_age_s` (None: as old as it may get).
    `may_store`: this answer may be kept."""

    may_read: bool = True
    may_store: bool = True
    max_age_s: int | None = None


ANYTHING_GOES = Directive()
BYPASS = Directive(may_read=False, may_store=False)


def parse_cache_control(header: bytes | None) -> Directive:
    """`no-cache` wants a new answer, `no-store` leaves no trace and reads none, `max-age` bounds an answer's age.

    Tolerant: case, spaces, quotes, unknown directives and empty places in the list do not matter. An age that is no
    number is 0, the least of several ages counts, and a header of absurd length bypasses the cache.
    """
    if header is None:
        return ANYTHING_GOES
    if len(header) > LONGEST_HEADER:
        return BYPASS
    names: set[bytes] = set()
    ages: list[int] = []
    for name, argument in _DIRECTIVE.findall(header):
        names.add(name.lower())
        if name.lower() == b"max-age":
            ages.append(_seconds(argument.strip(b'"')))
    if b"no-store" in names:
        return BYPASS
    max_age_s = min(ages, default=None)
    return Directive(may_read=b"no-cache" not in names and max_age_s != 0, max_age_s=max_age_s)


def _seconds(argument: bytes) -> int:
    return min(int(argument), LONGEST_AGE_S) if argument.isdigit() else 0
