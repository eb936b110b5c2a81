"""Facts in words: one line for each, for people. Amounts in USD."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from domain.events import Envelope, UnknownFact, decode_fact
from domain.ledger import CreditGranted, CreditLeased, LeaseExpired, LeaseExtended, LeaseReturned, UsageCharged
from domain.money import usd
from domain.pricing import TOKEN_CLASSES, Tokens
from domain.request import (
    RequestAbandoned,
    RequestAdmitted,
    RequestAttempted,
    RequestCached,
    RequestEnd,
    RequestFailed,
)

EVIDENCE = {
    "reported": "as the provider reported",
    "estimated": "estimated",
    "bounded": "at the bound, because the usage is unknown",
    "none": "nothing was used",
}
SAID_ELSEWHERE = frozenset({"account_id", "at"})
SEALED = ("_sealed", "salt", "secret_hash")


def readable(envelope: Envelope) -> Any:
    """The fact; None when this release cannot read it."""
    try:
        return decode_fact(envelope)
    except (UnknownFact, msgspec.DecodeError):
        return None


def time_of(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def amount_nanos_of(fact: Any) -> int | None:
    """The sum that the fact is about: what it grants, holds, reserves, costs or charges."""
    if isinstance(fact, LeaseExpired):
        return fact.released_nanos
    if isinstance(fact, RequestAdmitted):
        return fact.reserved_nanos
    if isinstance(fact, RequestEnd):
        return fact.cost_nanos
    return getattr(fact, "amount_nanos", None)


VERBS: dict[type[Any], str] = {
    CreditGranted: "grants",
    CreditLeased: "holds",
    LeaseExtended: "holds more",
    LeaseReturned: "frees",
    LeaseExpired: "frees",
    UsageCharged: "charges",
    RequestAdmitted: "reserves",
}


def amount_of(fact: Any) -> str:
    """`charges 0.0125 USD`; empty for what is not about money."""
    nanos = amount_nanos_of(fact)
    if nanos is None:
        return ""
    return f"{VERBS.get(type(fact), 'costs')} {usd(nanos)} USD"


def line_of(envelope: Envelope) -> str:
    """Amount and words, and of a request event which request it is about."""
    fact = readable(envelope)
    return "  ".join(part for part in (amount_of(fact), getattr(fact, "request_id", ""), words_of(fact)) if part)


def words_of(fact: Any) -> str:
    """What matters of it, beside the amount."""
    if isinstance(fact, CreditGranted):
        return f"by {fact.source}: {fact.reason}; balance after it {usd(fact.balance_after_nanos)} USD"
    if isinstance(fact, CreditLeased):
        return f"lease {fact.lease_id} for worker {fact.worker} until {time_of(fact.expires_at)}"
    if isinstance(fact, UsageCharged):
        count = sum(usage.requests for usage in fact.by_model.values())
        what = f"{count} request{'s' if count != 1 else ''} in REQ:{fact.from_position + 1}..{fact.to_position}"
        return f"{what}; balance after it {usd(fact.balance_after_nanos)} USD"
    if isinstance(fact, RequestAdmitted):
        model = fact.model if fact.upstream_model in fact.model else f"{fact.model} ({fact.upstream_model})"
        by_route = f"; of route {fact.route}" if fact.route else ""
        return f"{model} at {fact.provider}; about {fact.input_estimate} input tokens{by_route}"
    if isinstance(fact, RequestAttempted):
        return _attempt_in_words(fact)
    if isinstance(fact, RequestCached):
        return _cached_in_words(fact)
    if isinstance(fact, RequestEnd):
        return _end_in_words(fact)
    return _members_of(fact)


def _attempt_in_words(fact: RequestAttempted) -> str:
    status = f" {fact.upstream_status}" if fact.upstream_status else ""
    bills = "may bill" if fact.evidence == "estimated" else "bills"
    billed = f"; the provider {bills} {usd(fact.cost_nanos)} USD, nobody is charged" if fact.cost_nanos else ""
    who = f"attempt {fact.number} at {fact.deployment}: {fact.model} at {fact.provider}"
    return f"{who}; {fact.error_kind}{status}: {fact.message}; took {fact.duration_ms} ms{billed}"


def _cached_in_words(fact: RequestCached) -> str:
    parts = [f"answered from the cache, as {fact.model} at {fact.provider} did before"]
    if fact.similarity is not None:
        parts.append(f"to a question that is {fact.similarity:.4f} alike")
    if fact.route:
        parts.append(f"of route {fact.route}")
    return "; ".join([*parts, f"saves {usd(fact.saved_nanos)} USD", f"took {fact.duration_ms} ms"])


def _end_in_words(fact: RequestEnd) -> str:
    parts = [f"{_tokens(fact.tokens)}, {EVIDENCE[fact.evidence]}"]
    if fact.deployment:
        parts.append(f"attempt {fact.attempts} at {fact.deployment}: {fact.model} at {fact.provider}")
    if isinstance(fact, RequestFailed):
        parts.append(f"{fact.error_kind}: {fact.message}")
    if isinstance(fact, RequestAbandoned):
        parts.append(f"its worker died; charged by {fact.policy}")
    if fact.duration_ms:
        parts.append(f"took {fact.duration_ms} ms")
    if fact.hedged:
        parts.append("two calls ran side by side")
    if fact.client_gone:
        parts.append("the client had gone")
    return "; ".join(parts)


def _tokens(tokens: Tokens) -> str:
    counts = [f"{count} {name.replace('_', ' ')}" for name in TOKEN_CLASSES if (count := getattr(tokens, name))]
    return f"{' + '.join(counts) or 'no'} tokens"


def _members_of(fact: Any) -> str:
    """Of facts that need no words of their own; nothing that is sealed or secret."""
    members = msgspec.to_builtins(fact) if fact is not None else {}
    members.pop("type", None)
    shown = {name: value for name, value in members.items() if name not in SAID_ELSEWHERE and not name.endswith(SEALED)}
    return " ".join(f"{name}={value}" for name, value in shown.items() if not name.endswith("_nanos"))
