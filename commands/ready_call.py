"""What a call needs before it can be sent: credit for the most that it may cost, and a provider that can do what is
asked."""

from commands.failover import Desk, told
from commands.route_plan import Candidate
from commands.running import Running
from domain.errors import AggregatorError, CreditExhausted
from domain.ports import PreparedCall


async def afford(desk: Desk, running: Running, candidate: Candidate, needed_nanos: int) -> AggregatorError | None:
    """What speaks against it, when the credit does not bear that much, or the ledger does not answer. What is missing
    is held until the request's end."""
    missing = needed_nanos - running.held_nanos
    if missing <= 0:
        return None
    try:
        more = await desk.leases.reserve(running.command.account_id, missing)
    except Exception as error:
        return told(error, candidate.provider)
    if more.holding is not running.reservation.holding:
        more.release(0)
        return CreditExhausted(needed_nanos, running.held_nanos)
    running.more = (*running.more, more)
    return None


def prepare(desk: Desk, running: Running, candidate: Candidate) -> PreparedCall | AggregatorError:
    """The refusal, where the provider cannot do it."""
    try:
        return desk.providers[candidate.connection].prepare(running.command.call_of(candidate))
    except Exception as error:
        return told(error, candidate.provider)
