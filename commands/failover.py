"""What the attempts of all routed requests of a process share."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import structlog

from commands.credit_leases import CreditLeases
from commands.deployment_views import DeploymentViews
from commands.route_limits import RouteLimits
from commands.route_plan import Fallbacks
from domain.breakers import Breakers
from domain.errors import AggregatorError, ProviderBroken, ProviderTimeout
from domain.ports import Provider
from domain.request import RequestAttempted
from domain.retry_budget import RetryBudget

Raised = TypeVar("Raised", bound=Exception)

logger = structlog.get_logger()


@dataclass
class Failover:
    """`budget` is replaced as it is drawn on. `now_s` never goes back; `random` is evenly from [0, 1)."""

    breakers: Breakers
    budget: RetryBudget
    views: DeploymentViews
    fallbacks: Fallbacks
    limits: RouteLimits
    now_s: Callable[[], float]
    random: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def counts_request(self) -> None:
        self.budget = self.budget.after_request(self.now_s())

    def pays_retry(self) -> bool:
        """Whether the retry budget bore one."""
        now_s = self.now_s()
        if not self.budget.allows(now_s):
            return False
        self.budget = self.budget.after_retry(now_s)
        return True


@dataclass(frozen=True)
class Desk:
    """What an attempt needs beside that. `note` records one without waiting: it has its place in the log's queue after
    one turn of the event loop."""

    failover: Failover
    providers: Mapping[str, Provider]
    leases: CreditLeases
    clock: Callable[[], datetime]
    unpriced_nanos: int
    note: Callable[[RequestAttempted], None]


def told(error: Exception, provider: str) -> AggregatorError:
    """What is said of a failed call."""
    if isinstance(error, AggregatorError):
        return bare(error)
    if isinstance(error, TimeoutError):
        return ProviderTimeout(provider, "The provider did not answer in the time that its route allows.")
    return broken(error, provider)


def broken(error: Exception, provider: str) -> ProviderBroken:
    """What an adapter did not foresee is a broken answer."""
    logger.error("provider_adapter_failed", provider=provider, exc_info=error)
    bare(error)
    return ProviderBroken(provider, "The provider's answer could not be understood.")


def bare(error: Raised) -> Raised:
    """To be remembered: without the frames that it came through, which hold the request and the provider's answer."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
