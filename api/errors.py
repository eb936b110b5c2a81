"""How refusals and failures meet HTTP: one table from type to status and code, and two ways to write them.

AI routes speak OpenAI's `{"error": {message, type, param, code}}`; everything else RFC 9457 problem details.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from api.body import BodyTooLarge, BodyTooSlow
from domain import errors
from domain.errors import AggregatorError
from domain.limit_headers import headers_of

logger = structlog.get_logger()

LONGEST_WAIT_S = 120
"""SDKs do not honour a longer Retry-After."""


class Kind(msgspec.Struct, frozen=True):
    status: int
    code: str
    title: str


KINDS: dict[type[AggregatorError], Kind] = {
    errors.AggregatorError: Kind(500, "internal_error", "Internal error"),
    errors.InvalidInput: Kind(422, "invalid_value", "The request is not valid"),
    BodyTooLarge: Kind(413, "body_too_large", "The body is too large"),
    BodyTooSlow: Kind(408, "body_too_slow", "The body came too slowly"),
    errors.ModelNotFound: Kind(404, "model_not_found", "No such model"),
    errors.UnsupportedParameter: Kind(422, "unsupported_parameter", "A parameter is not supported"),
    errors.NotAuthenticated: Kind(401, "invalid_api_key", "Not authenticated"),
    errors.InvalidToken: Kind(401, "invalid_token", "The token is not valid"),
    errors.BadCredentials: Kind(401, "bad_credentials", "Wrong e-mail or password"),
    errors.SessionEnded: Kind(401, "session_ended", "The session has ended"),
    errors.RefreshReused: Kind(401, "refresh_reuse", "A refresh token was used twice"),
    errors.NotAllowed: Kind(403, "not_allowed", "Not allowed"),
    errors.NotFound: Kind(404, "not_found", "Not found"),
    errors.Conflict: Kind(409, "conflict", "Conflict"),
    errors.KeyRunning: Kind(409, "idempotency_key_running", "The first request with this key still runs"),
    errors.KeyMismatch: Kind(422, "idempotency_key_mismatch", "The key was used for another request"),
    errors.AnswerLost: Kind(409, "idempotent_answer_lost", "The answer cannot be given again"),
    errors.EmailTaken: Kind(409, "email_taken", "The e-mail is taken"),
    errors.ConcurrentWrite: Kind(409, "concurrent_write", "Someone else changed this at the same time"),
    errors.CreditExhausted: Kind(402, "credit_exhausted", "Not enough credit"),
    errors.RateLimited: Kind(429, "rate_limit_exceeded", "A rate limit is reached"),
    errors.BudgetExhausted: Kind(402, "budget_exhausted", "A budget is used up"),
    errors.DeploymentsFull: Kind(429, "deployments_full", "Every deployment is at its limit"),
    errors.StaleCursor: Kind(409, "stale_cursor", "Settled further already"),
    errors.LeaseStillHeld: Kind(409, "lease_still_held", "The lease is still held"),
    errors.Busy: Kind(429, "busy", "Too busy"),
    errors.Unavailable: Kind(503, "unavailable", "Unavailable"),
    errors.OutcomeUnknown: Kind(503, "outcome_unknown", "The outcome is unknown"),
    errors.BehindPosition: Kind(504, "behind_position", "The view is behind"),
    errors.ProviderError: Kind(502, "provider_error", "The provider failed"),
    errors.ProviderUnreachable: Kind(502, "provider_unreachable", "The provider cannot be reached"),
    errors.ProviderTimeout: Kind(504, "provider_timeout", "The provider took too long"),
    errors.ProviderRefused: Kind(502, "provider_refused", "The provider refused"),
    errors.ProviderBroken: Kind(502, "provider_broken", "The provider's answer was broken"),
}

PASSED_ON = frozenset({400, 404, 408, 409, 413, 415, 422, 429})
"""What a provider says of the request itself."""

ABOUT_US = frozenset({401, 402, 403})
"""What it says of our credentials: to the caller neither its words nor its code may look like ours."""
ABOUT_OUR_KEY = frozenset({"API_KEY_INVALID", "insufficient_quota"})
"""Codes for the same: Gemini's with status 400, OpenAI's with 429."""
NOT_OURS_TO_TELL = "The provider does not accept this gateway's credentials; its operator must correct them."

KEPT_422 = frozenset({"idempotency_key_mismatch"})
"""OpenAI's clients know an invalid request by 400, but for this."""
OPENAI_TYPES = {402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error"}


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """`pointer` (JSON pointer into the body) or `parameter` (of the query or path) says where."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class Failure(msgspec.Struct, frozen=True):
    """What any error comes down to, before it is written in a route's own way."""

    kind: Kind
    detail: str
    headers: Mapping[str, str] = {}
    fields: tuple[FieldError, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """Ready to send. `headers` includes the content type."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """As ASGI takes them."""
        return [(name.encode(), value.encode()) for name, value in self.headers.items()]


INTERNAL = Failure(KINDS[AggregatorError], "Something went wrong on our side; the request id helps us find it.")


def failure_from(error: Exception, event: str) -> Failure:
    """What nobody expected is logged as `event`, and told without internals."""
    if isinstance(error, AggregatorError):
        return failure_of(error)
    logger.error(event, exc_info=error)
    return INTERNAL


def failure_of(error: AggregatorError) -> Failure:
    kind = KINDS[next(cls for cls in type(error).__mro__ if cls in KINDS)]
    if isinstance(error, errors.InvalidInput | errors.NotAuthenticated):
        kind = msgspec.structs.replace(kind, code=error.code)
    if isinstance(error, errors.ProviderRefused):
        if error.status in ABOUT_US or error.code in ABOUT_OUR_KEY:
            return Failure(kind, NOT_OURS_TO_TELL)
        kind = _passed_on(kind, error)
    if kind.status == INTERNAL.kind.status:
        return INTERNAL
    return Failure(kind, str(error), _headers_of(error, kind), _fields_of(error))


def problem(failure: Failure, request_id: str) -> Answer:
    """RFC 9457. `type` is stable for a code; `title` says the same for every occurrence, `detail` what happened."""
    kind = failure.kind
    members: dict[str, Any] = {
        "type": f"/problems/{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": failure.detail,
        "code": kind.code,
        "request_id": request_id,
    }
    if failure.fields:
        members["errors"] = failure.fields
    return _answer(kind.status, failure, "application/problem+json", members)


def openai_error(failure: Failure, request_id: str) -> Answer:
    kind = failure.kind
    status = 400 if kind.status == 422 and kind.code not in KEPT_422 else kind.status
    fallback = "server_error" if status >= 500 else "invalid_request_error"
    error = {
        "message": failure.detail,
        "type": OPENAI_TYPES.get(status, fallback),
        "param": _param_of(failure.fields),
        "code": kind.code,
    }
    return _answer(status, failure, "application/json", {"error": error, "request_id": request_id})


def pointer_to(path: str) -> str:
    """`messages[0].role` as a JSON pointer."""
    steps = path.replace("[", ".").replace("]", "").split(".")
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps if step)


def _passed_on(kind: Kind, error: errors.ProviderRefused) -> Kind:
    status = error.status if error.status in PASSED_ON else kind.status
    return Kind(status, error.code or kind.code, kind.title)


def _headers_of(error: AggregatorError, kind: Kind) -> dict[str, str]:
    if isinstance(error, errors.RateLimited):
        told = dict(headers_of(error.verdict))
        return told if "retry-after" in told and kind.status == 429 else {**told, "x-should-retry": "false"}
    if kind.status == 402 or isinstance(error, errors.OutcomeUnknown | errors.AnswerLost):
        return {"x-should-retry": "false"}
    if kind.status == 401:
        return {"www-authenticate": 'Bearer realm="ai-aggregator"'}
    if isinstance(error, errors.Busy | errors.BehindPosition | errors.KeyRunning):
        return {"retry-after": "1"}
    if isinstance(error, errors.Unavailable | errors.ProviderRefused) and error.retry_after_s:
        return {"retry-after": str(min(LONGEST_WAIT_S, max(1, round(error.retry_after_s))))}
    return {}


def _fields_of(error: AggregatorError) -> tuple[FieldError, ...]:
    if isinstance(error, errors.InvalidInput) and error.field:
        return (FieldError(str(error), pointer=pointer_to(error.field)),)
    return ()


def _param_of(fields: tuple[FieldError, ...]) -> str | None:
    """OpenAI's way of writing a place: `messages[0].role`."""
    if not fields:
        return None
    steps = (fields[0].pointer or "").lstrip("/").split("/")
    path = "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in steps).lstrip(".")
    return path or fields[0].parameter


def _answer(status: int, failure: Failure, content_type: str, content: object) -> Answer:
    headers = {"content-type": f"{content_type}; charset=utf-8", **failure.headers}
    return Answer(status, headers, msgspec.json.encode(content))
