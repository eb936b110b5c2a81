"""What a caller is told about its limits, with every answer.

`RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers-11 (lists of structured fields),
`x-ratelimit-*` OpenAI's, which know one limit on requests and one on tokens: the tightest of each.
"""

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from domain.limits import Kind, Rule, State, Verdict, Window

MAX_RETRY_AFTER_S = 120
"""SDKs take a longer one for a mistake and retry at once."""
LARGEST_INTEGER = 999_999_999_999_999
"""Of a structured field."""
WINDOW_S: dict[Window, int] = {"minute": 60, "day": 86_400, "month": 2_678_400}
"""A month is told as its longest."""
LIKE_OPENAI: tuple[Kind, ...] = ("requests", "tokens")
UNITS: dict[Kind, str] = {"concurrent": "concurrent-requests", "tokens": "tokens", "spend": "nano-usd"}
"""The registry has no name for the last two; saying nothing would mean requests."""


class _Words(msgspec.Struct, frozen=True):
    """What is said of a set of rules however much is used of them. `limits` lacks what remains of each, and when it is
    reset for those with a window, which `resets` tells. `like_openai`: the kinds, each with where its rules are."""

    policy: bytes
    limits: bytes
    resets: tuple[bool, ...]
    like_openai: tuple[tuple["_LikeOpenAI", tuple[int, ...]], ...]


class _LikeOpenAI(msgspec.Struct, frozen=True):
    """The names of three headers."""

    limit: bytes
    remaining: bytes
    reset: bytes


def headers_of(verdict: Verdict) -> list[tuple[str, str]]:
    """Names in lower case. Retry-After only where waiting helps."""
    return [(name.decode(), value.decode()) for name, value in raw_headers_of(verdict)]


def raw_headers_of(verdict: Verdict) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    if verdict.states:
        _tell_limits(verdict.states, headers)
    if not verdict.allowed and verdict.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % min(max(verdict.retry_after_s, 1), MAX_RETRY_AFTER_S)))
    if verdict.degraded:
        headers.append((b"x-agg-degraded", b"limits"))
    return headers


def go_duration(seconds: int) -> str:
    """As Go prints it, which is what OpenAI's clients parse: `12s`, `6m0s`, `1h0m0s`."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _tell_limits(states: Sequence[State], headers: list[tuple[bytes, bytes]]) -> None:
    words = _words_of(tuple([state.rule for state in states]))
    figures: list[int] = []
    for state, has_reset in zip(states, words.resets, strict=True):
        figures.append(state.remaining if state.remaining < LARGEST_INTEGER else LARGEST_INTEGER)
        if has_reset:
            figures.append(state.reset_s)
    headers += ((b"ratelimit-policy", words.policy), (b"ratelimit", words.limits % tuple(figures)))
    for names, places in words.like_openai:
        state = states[places[0]]
        if len(places) > 1:
            state = min([states[place] for place in places], key=_room)
        headers += (
            (names.limit, b"%d" % state.rule.limit),
            (names.remaining, b"%d" % state.remaining),
            (names.reset, _reset(state.reset_s)),
        )


@lru_cache(maxsize=1_000)
def _reset(seconds: int) -> bytes:
    return go_duration(seconds).encode()


def _room(state: State) -> tuple[int, int]:
    return state.remaining, -state.reset_s


@lru_cache(maxsize=10_000)
def _words_of(rules: tuple[Rule, ...]) -> _Words:
    like_openai: list[tuple[_LikeOpenAI, tuple[int, ...]]] = []
    for kind in LIKE_OPENAI:
        places = tuple(index for index, rule in enumerate(rules) if rule.kind == kind)
        if places:
            names = (f"x-ratelimit-{figure}-{kind}".encode() for figure in ("limit", "remaining", "reset"))
            like_openai.append((_LikeOpenAI(*names), places))
    return _Words(
        policy=", ".join(map(_policy, rules)).encode(),
        limits=", ".join(f"{_name(rule)};r=%d{';t=%d' if rule.window in WINDOW_S else ''}" for rule in rules).encode(),
        resets=tuple(rule.window in WINDOW_S for rule in rules),
        like_openai=tuple(like_openai),
    )


def _name(rule: Rule) -> str:
    window = "" if rule.window == "none" else f"-{rule.window}"
    return f'"{rule.scope}-{rule.kind}{window}"'


def _policy(rule: Rule) -> str:
    unit = f';qu="{UNITS[rule.kind]}"' if rule.kind in UNITS else ""
    length = f";w={WINDOW_S[rule.window]}" if rule.window in WINDOW_S else ""
    return f"{_name(rule)};q={min(rule.limit, LARGEST_INTEGER)}{unit}{length}"
