"""What a caller is told about its limits, with every answer.

`RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers-11 (lists of structured fields),
`x-ratelimit-*` OpenAI's, which know one limit on requests and one on tokens: the tightest of each.
"""

from functools import lru_cache

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


def headers_of(verdict: Verdict) -> list[tuple[str, str]]:
    """Names in lower case. Retry-After only where waiting helps."""
    headers: list[tuple[str, str]] = []
    policies: list[str] = []
    limits: list[str] = []
    tightest: dict[Kind, State] = {}
    for state in verdict.states:
        rule, remaining = state.rule, min(state.remaining, LARGEST_INTEGER)
        name, policy = _words_of(rule)
        policies.append(policy)
        limits.append(f"{name};r={remaining};t={state.reset_s}" if rule.window in WINDOW_S else f"{name};r={remaining}")
        if rule.kind in LIKE_OPENAI and _is_tighter(state, tightest.get(rule.kind)):
            tightest[rule.kind] = state
    if policies:
        headers += (("ratelimit-policy", ", ".join(policies)), ("ratelimit", ", ".join(limits)))
    for kind in LIKE_OPENAI:
        if state := tightest.get(kind):
            headers += _like_openai(kind, state)
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


@lru_cache(maxsize=10_000)
def _words_of(rule: Rule) -> tuple[str, str]:
    """Its name and its policy."""
    window = "" if rule.window == "none" else f"-{rule.window}"
    name = f'"{rule.scope}-{rule.kind}{window}"'
    unit = f';qu="{UNITS[rule.kind]}"' if rule.kind in UNITS else ""
    length = f";w={WINDOW_S[rule.window]}" if rule.window in WINDOW_S else ""
    return name, f"{name};q={min(rule.limit, LARGEST_INTEGER)}{unit}{length}"


def _is_tighter(state: State, than: State | None) -> bool:
    return than is None or (state.remaining, -state.reset_s) < (than.remaining, -than.reset_s)


def _like_openai(kind: Kind, tightest: State) -> tuple[tuple[str, str], ...]:
    return (
        (f"x-ratelimit-limit-{kind}", str(tightest.rule.limit)),
        (f"x-ratelimit-remaining-{kind}", str(tightest.remaining)),
        (f"x-ratelimit-reset-{kind}", go_duration(tightest.reset_s)),
    )
