"""What a caller is told about its limits, with every answer.

`RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers-11 (lists of structured fields),
`x-ratelimit-*` OpenAI's, which know one limit on requests and one on tokens: the tightest of each.
"""

from collections.abc import Sequence

from domain.limits import Kind, State, Verdict, Window

MAX_RETRY_AFTER_S = 120
"""SDKs take a longer one for a mistake and retry at once."""
LARGEST_INTEGER = 999_999_999_999_999
"""Of a structured field."""
WINDOW_S: dict[Window, int] = {"minute": 60, "day": 86_400, "month": 2_678_400}
"""A month is told as its longest."""
UNITS: dict[Kind, str] = {"concurrent": "concurrent-requests", "tokens": "tokens", "spend": "nano-usd"}
"""The registry has no name for the last two; saying nothing would mean requests."""


def headers_of(verdict: Verdict) -> list[tuple[str, str]]:
    """Names in lower case. Retry-After only where waiting helps."""
    headers: list[tuple[str, str]] = []
    if verdict.states:
        headers += (
            ("ratelimit-policy", ", ".join(_policy(state) for state in verdict.states)),
            ("ratelimit", ", ".join(_service_limit(state) for state in verdict.states)),
        )
    for kind in ("requests", "tokens"):
        headers += _like_openai(kind, verdict.states)
    if not verdict.allowed and verdict.retry_after_s is not None:
        headers.append(("retry-after", str(min(max(verdict.retry_after_s, 1), MAX_RETRY_AFTER_S))))
    if verdict.degraded:
        headers.append(("x-agg-degraded", "limits"))
    return headers


def go_duration(seconds: int) -> str:
    """As Go prints it, which is what OpenAI's clients parse: `12s`, `6m0s`, `1h0m0s`."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _name(state: State) -> str:
    rule = state.rule
    window = "" if rule.window == "none" else f"-{rule.window}"
    return f'"{rule.scope}-{rule.kind}{window}"'


def _policy(state: State) -> str:
    rule = state.rule
    unit = f';qu="{UNITS[rule.kind]}"' if rule.kind in UNITS else ""
    window = f";w={WINDOW_S[rule.window]}" if rule.window in WINDOW_S else ""
    return f"{_name(state)};q={min(rule.limit, LARGEST_INTEGER)}{unit}{window}"


def _service_limit(state: State) -> str:
    until = f";t={state.reset_s}" if state.rule.window in WINDOW_S else ""
    return f"{_name(state)};r={min(state.remaining, LARGEST_INTEGER)}{until}"


def _like_openai(kind: Kind, states: Sequence[State]) -> list[tuple[str, str]]:
    of_kind = [state for state in states if state.rule.kind == kind]
    if not of_kind:
        return []
    tightest = min(of_kind, key=lambda state: (state.remaining, -state.reset_s))
    return [
        (f"x-ratelimit-limit-{kind}", str(tightest.rule.limit)),
        (f"x-ratelimit-remaining-{kind}", str(tightest.remaining)),
        (f"x-ratelimit-reset-{kind}", go_duration(tightest.reset_s)),
    ]
