"""Everything that can be refused or go wrong, as one tree.

AggregatorError
├── InvalidInput              the caller's words are off: field, value, remedy
│   ├── ModelNotFound         no such model for this caller
│   └── UnsupportedParameter  understood, but not served here
├── NotAuthenticated          no or bad credentials
│   ├── InvalidToken          an access or refresh token that is not ours, or expired
│   ├── BadCredentials        unknown e-mail or wrong password
│   ├── SessionEnded          logged out, expired or revoked
│   └── RefreshReused         a spent refresh token came back; its family is revoked
├── NotAllowed                known, but may not
├── NotFound                  not there, or another tenant's
├── Conflict
│   ├── EmailTaken
│   ├── KeyRunning            the first request with this Idempotency-Key has not ended
│   ├── KeyMismatch           the Idempotency-Key was used for another request
│   ├── AnswerLost            the work was done, and its answer cannot be given again
│   └── ConcurrentWrite       another writer was first; reload and decide again
├── CreditExhausted           less credit available than the request may cost
├── RateLimited               a limit of the caller's is used up
│   ├── BudgetExhausted       it is one on spend
│   └── DeploymentsFull       not the caller's: every deployment has all that its provider grants
├── StaleCursor               usage was settled further than the proposal knew
├── LeaseStillHeld            a lease may not be expired before its time
├── Busy                      a bounded queue is full; try again
├── Unavailable               a part we need is down; nothing was done
│   └── OutcomeUnknown        a write was sent and never confirmed
├── BehindPosition            a read did not reach the asked position in time
└── ProviderError             the upstream call failed
    ├── ProviderUnreachable   never sent: safe to try elsewhere
    ├── ProviderTimeout       sent, no end seen in time: unknown
    ├── ProviderRefused       the provider answered with an error status
    └── ProviderBroken        the answer was cut, malformed or an error inside a 200
"""

from domain.limits import Verdict
from domain.money import usd


class AggregatorError(Exception):
    """Root of the tree. `str()` is fit for the caller: no secrets, no internals."""


class InvalidInput(AggregatorError):
    """`field` names the place (`messages[0].role`), `remedy` says what would be accepted."""

    def __init__(self, message: str, *, field: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.field = field
        self.code = code


class ModelNotFound(InvalidInput):
    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model {model!r} is not in the catalogue; GET /api/v1/models lists what you may use.",
            field="model",
            code="model_not_found",
        )


class UnsupportedParameter(InvalidInput):
    """`capability` is what the provider lacks: an option or an endpoint, or a kind of content such as `image`."""

    def __init__(self, field: str, message: str, *, capability: str = "") -> None:
        super().__init__(message, field=field, code="unsupported_parameter")
        self.capability = capability


class NotAuthenticated(AggregatorError):
    code = "invalid_api_key"


class InvalidToken(NotAuthenticated):
    code = "invalid_token"


class BadCredentials(NotAuthenticated):
    code = "bad_credentials"

    def __init__(self) -> None:
        super().__init__("E-mail or password is wrong.")


class SessionEnded(NotAuthenticated):
    code = "session_ended"

    def __init__(self) -> None:
        super().__init__("This session has ended; log in again.")


class RefreshReused(NotAuthenticated):
    code = "refresh_reuse"

    def __init__(self) -> None:
        super().__init__("This refresh token was already used; the session is revoked, log in again.")


class NotAllowed(AggregatorError):
    pass


class NotFound(AggregatorError):
    def __init__(self, what: str, ident: str) -> None:
        super().__init__(f"There is no {what} {ident!r}.")
        self.what = what


class Conflict(AggregatorError):
    pass


class EmailTaken(Conflict):
    def __init__(self) -> None:
        super().__init__("An account with this e-mail exists already; log in instead.")


class KeyRunning(Conflict):
    def __init__(self, request_id: str) -> None:
        super().__init__(f"The first request with this Idempotency-Key ({request_id}) still runs; ask again shortly.")


class KeyMismatch(Conflict):
    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"This Idempotency-Key was used for another request ({request_id}); take a new key for a new request."
        )


class AnswerLost(Conflict):
    def __init__(self, request_id: str, why: str) -> None:
        super().__init__(
            f"The request with this Idempotency-Key ({request_id}) was done, and {why}. "
            "GET /api/v1/requests/{id} says what it cost; take a new key to ask anew."
        )


class ConcurrentWrite(Conflict):
    """Raised by the log when the guard of an append no longer holds."""


class CreditExhausted(AggregatorError):
    """`elsewhere_nanos` is what other workers hold of it and might give back."""

    def __init__(self, needed_nanos: int, available_nanos: int, elsewhere_nanos: int = 0) -> None:
        super().__init__(
            f"The account has less credit than this request may cost: {usd(available_nanos)} USD are free, and it may "
            f"cost {usd(needed_nanos)} USD. Add credit, or ask for less output (max_completion_tokens)."
        )
        self.needed_nanos = needed_nanos
        self.available_nanos = available_nanos
        self.elsewhere_nanos = elsewhere_nanos


class RateLimited(AggregatorError):
    """`verdict` says which limit, and when there is room again."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(self._said(verdict))
        self.verdict = verdict

    def _said(self, verdict: Verdict) -> str:
        rule = verdict.binding
        if rule is None:
            return "This request has ended already."
        window = "at once" if rule.window == "none" else f"a {rule.window}"
        unit = "requests" if rule.kind == "concurrent" else rule.kind
        again = "" if verdict.retry_after_s is None else f" Try again in {verdict.retry_after_s} s."
        return f"The limit of {rule.limit} {unit} {window} for this {rule.scope} is used up.{again}"


class BudgetExhausted(RateLimited):
    def _said(self, verdict: Verdict) -> str:
        assert verdict.binding is not None
        limit = usd(verdict.binding.limit)
        return (
            f"This request may cost more than is left of the {limit} USD that this {verdict.binding.scope} may spend a "
            f"{verdict.binding.window}; ask for less output (max_completion_tokens), or wait for the next one."
        )


class DeploymentsFull(RateLimited):
    """The verdict is the one of the deployment that is free again first. Without `states`: they count other accounts'
    traffic, too."""

    def _said(self, verdict: Verdict) -> str:
        if verdict.retry_after_s is None:
            return (
                "This request may use more tokens than any deployment of this model takes in a minute; "
                "ask for less output (max_completion_tokens), or for another model."
            )
        return (
            "Every deployment of this model has as much to do as its provider allows. "
            f"Try again in {verdict.retry_after_s} s."
        )


class StaleCursor(AggregatorError):
    def __init__(self, settled_to: int) -> None:
        super().__init__(f"Usage is settled up to REQ:{settled_to} already.")
        self.settled_to = settled_to


class LeaseStillHeld(AggregatorError):
    pass


class Busy(AggregatorError):
    pass


class Unavailable(AggregatorError):
    """`retry_after_s` is what the caller is told to wait."""

    def __init__(self, message: str, *, retry_after_s: int = 2) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(Unavailable):
    pass


class BehindPosition(AggregatorError):
    def __init__(self, wanted: str, reached: str) -> None:
        super().__init__(f"This view is at {reached}, still behind {wanted}; ask again shortly.")
        self.wanted = wanted
        self.reached = reached


class ProviderError(AggregatorError):
    """`delivered` is true once a byte of the answer reached the client."""

    kind = "provider_error"

    def __init__(self, provider: str, message: str) -> None:
        super().__init__(message)
        self.provider = provider


class ProviderUnreachable(ProviderError):
    kind = "unreachable"


class ProviderTimeout(ProviderError):
    kind = "timeout"


class ProviderRefused(ProviderError):
    """The provider's own status, message, type and code; `retry_after_s` if it named one."""

    kind = "refused"

    def __init__(
        self,
        provider: str,
        message: str,
        *,
        status: int,
        error_type: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(provider, message)
        self.status = status
        self.error_type = error_type
        self.code = code
        self.retry_after_s = retry_after_s


class ProviderBroken(ProviderError):
    kind = "broken"
