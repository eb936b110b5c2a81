"""What the tests of routing share: routes, and every way in which a call can fail."""

from collections.abc import Iterable

from domain.deployment import Route
from domain.errors import (
    AggregatorError,
    CreditExhausted,
    InvalidInput,
    ProviderBroken,
    ProviderError,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnreachable,
    Unavailable,
    UnsupportedParameter,
)
from domain.failover import Attempt

STATUSES = (*range(300, 310), *range(400, 432), 451, 498, 499, *range(500, 512), 520, 524, 529, 598)


def route(name: str = "fast", *deployments: str, **fields: object) -> Route:
    return Route(name=name, deployments=deployments or ("a", "b"), **fields)  # type: ignore[arg-type]


def refused(
    status: int,
    message: str = "No.",
    *,
    error_type: str | None = None,
    code: str | None = None,
    retry_after_s: float | None = None,
) -> ProviderRefused:
    return ProviderRefused(
        "openai", message, status=status, error_type=error_type, code=code, retry_after_s=retry_after_s
    )


UNREACHABLE = ProviderUnreachable("openai", "The provider could not be reached.")
TIMEOUT = ProviderTimeout("openai", "The provider did not answer in time.")
BROKEN = ProviderBroken("openai", "The provider's answer was cut off.")
TOO_LONG = refused(400, "Too long.", code="context_length_exceeded")
UNSAFE = refused(400, "Refused.", code="content_filter")
DOWN = refused(503, "Overloaded.")
UNPAYABLE = CreditExhausted(10, 5)


def every_error() -> Iterable[AggregatorError]:
    yield from (UNREACHABLE, TIMEOUT, BROKEN, TOO_LONG, UNSAFE, UNPAYABLE, ProviderError("openai", "Something."))
    yield InvalidInput("No.", field="messages")
    yield UnsupportedParameter("logprobs", "Not here.")
    yield Unavailable("The log is away.")
    for status in STATUSES:
        for wait_s in (None, 0.0, 1.0, 300.0, float("nan"), -1.0):
            yield refused(status, retry_after_s=wait_s)


def failed(deployment: str, error: AggregatorError = DOWN, route: str = "fast", *, delivered: bool = False) -> Attempt:
    return Attempt(route, deployment, error, delivered)
