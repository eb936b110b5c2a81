"""The facts of a request's life, from what is known of it while it runs. Pure but for the duration."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from commands import provider_words
from commands.route_plan import Candidate
from commands.running import AnswerRequest, Running
from domain.errors import (
    AggregatorError,
    CreditExhausted,
    InvalidInput,
    ProviderError,
    ProviderRefused,
    RateLimited,
    Unavailable,
    UnsupportedParameter,
)
from domain.ids import LeaseId
from domain.pricing import Tokens, cost_nanos
from domain.request import (
    UNPRICED,
    Evidence,
    RequestAdmitted,
    RequestAttempted,
    RequestCompleted,
    RequestFailed,
)
from domain.upstream import Usage

CHARS_PER_TOKEN = 4
"""For estimates only, where a provider reports nothing."""
CONSIDERED_KEPT = 32
"""Deployments of a choice that are written down."""

_KINDS: Mapping[type[AggregatorError], str] = {
    CreditExhausted: "unaffordable",
    UnsupportedParameter: "unsupported",
    InvalidInput: "invalid",
    Unavailable: "unavailable",
    RateLimited: "rate_limited",
}


def admitted(command: AnswerRequest, running: Running) -> RequestAdmitted:
    call, candidate, price = command.call, running.candidate, running.candidate.price
    reservation = running.reservation
    estimate_nanos = reservation.amount_nanos
    if price is not None:
        estimate_nanos = cost_nanos(Tokens(input=call.input_estimate), price.rates)
    return RequestAdmitted(
        request_id=call.request_id,
        account_id=command.account_id,
        at=command.at,
        lease_id=reservation.lease_id,
        model=candidate.model.model,
        provider=candidate.provider,
        price_id=UNPRICED if price is None else price.price_id,
        key_id=command.key_id,
        user_id=command.user_id,
        stream=call.stream,
        endpoint=call.endpoint,
        upstream_model=candidate.upstream_model,
        reserved_nanos=reservation.amount_nanos,
        input_estimate=call.input_estimate,
        input_estimate_nanos=estimate_nanos,
        **_why(command),
    )


def _why(command: AnswerRequest) -> dict[str, Any]:
    """Nothing of a plain model."""
    plan = command.route
    if plan is None or plan.choice is None:
        return {}
    choice = plan.choice
    if len(choice.considered) > CONSIDERED_KEPT:
        choice = msgspec.structs.replace(choice, considered=choice.considered[:CONSIDERED_KEPT])
    return {"route": plan.trail[0].name, "choice": msgspec.Raw(msgspec.json.encode(choice))}


def attempted(
    running: Running, candidate: Candidate, number: int, error: AggregatorError, at: datetime
) -> RequestAttempted:
    """Of a call that was not even made; `billed` adds what a call that was made left behind."""
    return RequestAttempted(
        **_attempt(running, candidate, number, at),
        error_kind=kind_of(error),
        message=provider_words.message(str(error)),
        upstream_status=error.status if isinstance(error, ProviderRefused) else None,
    )


def hedged(running: Running, candidate: Candidate, number: int, at: datetime) -> RequestAttempted:
    """Of a call that was given up for another: its provider may bill its input, unless `billed` knows better."""
    tokens = Tokens(input=running.command.call.input_estimate)
    return RequestAttempted(
        **_attempt(running, candidate, number, at),
        error_kind="hedged",
        message="Two calls ran side by side, and this one was given up.",
        tokens=tokens,
        cost_nanos=_billed_nanos(candidate, tokens),
        evidence="estimated",
    )


def _attempt(running: Running, candidate: Candidate, number: int, at: datetime) -> dict[str, Any]:
    return {
        **_identity(running.command, running.reservation.lease_id, candidate),
        "at": at,
        "number": number,
        "deployment": candidate.deployment,
        "upstream_model": candidate.upstream_model,
    }


def billed(fact: RequestAttempted, candidate: Candidate, usage: Usage | None, duration_s: float) -> RequestAttempted:
    """With what its provider reported, if it did."""
    duration_ms = round(duration_s * 1000)
    if usage is None:
        return msgspec.structs.replace(fact, duration_ms=duration_ms)
    cost = _billed_nanos(candidate, usage.tokens)
    return msgspec.structs.replace(
        fact, tokens=usage.tokens, cost_nanos=cost, duration_ms=duration_ms, evidence="reported"
    )


def _billed_nanos(candidate: Candidate, tokens: Tokens) -> int:
    return cost_nanos(tokens, candidate.price.rates) if candidate.price else 0


def kind_of(error: AggregatorError) -> str:
    if isinstance(error, ProviderError):
        return error.kind
    return next((kind for family, kind in _KINDS.items() if isinstance(error, family)), "ours")


def completed(running: Running, model: str, finish_reason: str, usage: Usage | None, at: datetime) -> RequestCompleted:
    """As the other ends, but written out: nearly every request has one of these."""
    tokens, evidence = measured(running, usage)
    command, candidate, first_s = running.command, running.candidate, running.first_token_s
    call, price, started_s = command.call, candidate.price, command.started_s
    return RequestCompleted(
        request_id=call.request_id,
        account_id=command.account_id,
        at=at,
        lease_id=running.reservation.lease_id,
        model=candidate.model.model,
        provider=candidate.provider,
        price_id=UNPRICED if price is None else price.price_id,
        key_id=command.key_id,
        user_id=command.user_id,
        stream=call.stream,
        cost_nanos=_cost_nanos(running, tokens, evidence),
        evidence=evidence,
        tokens=tokens,
        usage=provider_words.report(usage),
        upstream_model=provider_words.name(model),
        duration_ms=round((time.perf_counter() - started_s) * 1000),
        first_token_ms=None if first_s is None else round((first_s - started_s) * 1000),
        client_gone=running.client_gone,
        attempts=running.attempts,
        deployment=candidate.deployment,
        hedged=running.hedged,
        finish_reason=provider_words.name(finish_reason),
    )


def failed(
    running: Running, error: AggregatorError, usage: Usage | None, at: datetime, *, is_final: bool
) -> RequestFailed:
    """What reached the client before is charged; an answer of which nothing came is not."""
    tokens, evidence = Tokens(), "none"
    if usage is not None or running.delivered_chars:
        tokens, evidence = measured(running, usage, is_final=is_final)
    return RequestFailed(
        **_dimensions(running, at),
        **_cost(running, tokens, evidence, usage),
        upstream_model=running.candidate.upstream_model,
        error_kind=kind_of(error),
        message=provider_words.message(str(error)),
        upstream_status=error.status if isinstance(error, ProviderRefused) else None,
    )


def given_up(running: Running, usage: Usage | None, at: datetime, *, is_final: bool) -> RequestFailed:
    """Nobody waits any more. A provider that was asked is taken to have worked; between two attempts none was."""
    tokens, evidence = Tokens(), "none"
    if running.asked:
        tokens, evidence = measured(running, usage, is_final=is_final)
    return RequestFailed(
        **_dimensions(running, at),
        **_cost(running, tokens, evidence, usage),
        upstream_model=running.candidate.upstream_model,
        error_kind="given_up",
        message="The call was given up before the provider's answer ended.",
    )


def not_started(running: Running, at: datetime) -> RequestFailed:
    return RequestFailed(
        **_dimensions(running, at),
        cost_nanos=0,
        evidence="none",
        error_kind="not_started",
        message="The admission was not confirmed in time; nothing was sent to the provider.",
    )


def measured(running: Running, usage: Usage | None, *, is_final: bool = True) -> tuple[Tokens, Evidence]:
    """What the provider reports, also if that is zero; else an estimate, never zero.

    A report that came before the answer's finish (not `is_final`) is made up for what was delivered since; so is one
    of output without any input, for no prompt is empty.
    """
    call = running.command.call
    output = max(1, -(-running.delivered_chars // CHARS_PER_TOKEN)) if call.max_output_tokens else 0
    if usage is None:
        return Tokens(input=call.input_estimate, output=output), "estimated"
    tokens = usage.tokens
    if not is_final and tokens.completion < output:
        tokens = msgspec.structs.replace(tokens, output=output - tokens.completion + tokens.output)
    if tokens.completion and not tokens.prompt:
        tokens = msgspec.structs.replace(tokens, input=call.input_estimate)
    return tokens, "reported" if tokens == usage.tokens else "estimated"


def _cost_nanos(running: Running, tokens: Tokens, evidence: Evidence) -> int:
    """An estimate never exceeds what was reserved for it; what a provider reports is charged as reported. Use without
    a price is charged what is held for it."""
    price, held = running.candidate.price, running.ceiling_nanos
    if price is None:
        return 0 if evidence == "none" else held
    cost = cost_nanos(tokens, price.rates)
    return min(cost, held) if evidence == "estimated" else cost


def _cost(running: Running, tokens: Tokens, evidence: Evidence, usage: Usage | None) -> dict[str, Any]:
    return {
        "cost_nanos": _cost_nanos(running, tokens, evidence),
        "evidence": evidence,
        "tokens": tokens,
        "usage": provider_words.report(usage),
    }


def _identity(command: AnswerRequest, lease_id: LeaseId, candidate: Candidate) -> dict[str, Any]:
    return {
        "request_id": command.call.request_id,
        "account_id": command.account_id,
        "lease_id": lease_id,
        "model": candidate.model.model,
        "provider": candidate.provider,
        "price_id": candidate.price.price_id if candidate.price else UNPRICED,
        "key_id": command.key_id,
        "user_id": command.user_id,
        "stream": command.call.stream,
    }


def _dimensions(running: Running, at: datetime) -> dict[str, Any]:
    command = running.command
    now_s = time.perf_counter()
    first = running.first_token_s
    return {
        **_identity(command, running.reservation.lease_id, running.candidate),
        "at": at,
        "duration_ms": round((now_s - command.started_s) * 1000),
        "first_token_ms": None if first is None else round((first - command.started_s) * 1000),
        "client_gone": running.client_gone,
        "attempts": running.attempts,
        "deployment": running.candidate.deployment,
        "hedged": running.hedged,
    }
