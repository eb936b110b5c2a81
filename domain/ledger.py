"""An account's credit: granted, leased to workers, charged. Amounts are integer nano-USD.

A lease is a hold on credit that one gateway worker may spend without asking. Its `open_nanos` is what
the ledger does not yet know to be spent; settlement turns spent parts into charges, and the worker gives back
the rest. Hence: available = balance − Σ open leases, and no number of workers can overspend.
"""

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from domain.aggregate import Aggregate
from domain.errors import CreditExhausted, InvalidInput, LeaseStillHeld, NotFound, StaleCursor
from domain.ids import AccountId, LeaseId
from domain.pricing import Tokens

CreditSource = Literal["promotion", "stripe", "manual"]


class LedgerFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    account_id: AccountId
    at: datetime


class CreditGranted(LedgerFact, frozen=True, kw_only=True, tag="ledger.credit_granted.v1"):
    amount_nanos: int
    source: CreditSource
    reason: str
    balance_after_nanos: int = 0


class CreditLeased(LedgerFact, frozen=True, kw_only=True, tag="ledger.credit_leased.v1"):
    lease_id: LeaseId
    worker: str
    amount_nanos: int
    expires_at: datetime


class LeaseExtended(LedgerFact, frozen=True, kw_only=True, tag="ledger.lease_extended.v1"):
    """More credit for an open lease, more time, or both."""

    lease_id: LeaseId
    amount_nanos: int
    expires_at: datetime


class LeaseReturned(LedgerFact, frozen=True, kw_only=True, tag="ledger.lease_returned.v1"):
    """The worker gives back `amount_nanos` that it has not spent and holds no reservation on.

    After the `final` return the lease only waits for settlement to charge what was spent.
    """

    lease_id: LeaseId
    amount_nanos: int
    final: bool


class LeaseExpired(LedgerFact, frozen=True, kw_only=True, tag="ledger.lease_expired.v1"):
    """Its worker is gone and every request under it has ended: the rest is free again."""

    lease_id: LeaseId
    released_nanos: int = 0


class ModelUsage(msgspec.Struct, frozen=True):
    requests: int
    cost_nanos: int
    tokens: Tokens = Tokens()


class UsageCharged(LedgerFact, frozen=True, kw_only=True, tag="ledger.usage_charged.v1"):
    """All ended requests of the account in `(from_position, to_position]` of the request log."""

    from_position: int
    to_position: int
    amount_nanos: int
    by_lease: dict[LeaseId, int]
    by_model: dict[str, ModelUsage]
    balance_after_nanos: int = 0


LedgerEvent: TypeAlias = CreditGranted | CreditLeased | LeaseExtended | LeaseReturned | LeaseExpired | UsageCharged


class Lease(msgspec.Struct, frozen=True):
    worker: str
    open_nanos: int
    expires_at: datetime
    closing: bool = False


class Ledger(msgspec.Struct, frozen=True):
    """Only what a decision needs to see."""

    balance_nanos: int = 0
    leases: dict[LeaseId, Lease] = {}
    settled_to: int = 0

    @property
    def leased_nanos(self) -> int:
        return sum(lease.open_nanos for lease in self.leases.values())

    @property
    def available_nanos(self) -> int:
        return self.balance_nanos - self.leased_nanos


# Decisions. A proposed fact is recorded, already true, or refused.


def grant(ledger: Ledger, proposed: CreditGranted) -> list[LedgerEvent]:
    if proposed.amount_nanos <= 0:
        raise InvalidInput("A credit grant must be more than 0 USD.", field="amount_usd")
    after = ledger.balance_nanos + proposed.amount_nanos
    return [msgspec.structs.replace(proposed, balance_after_nanos=after)]


def lease(ledger: Ledger, proposed: CreditLeased) -> list[LedgerEvent]:
    """A lease of nothing is allowed: requests that cost nothing need one too, to be found if their worker dies."""
    if proposed.lease_id in ledger.leases:
        return []
    _require_credit(ledger, proposed.amount_nanos)
    return [proposed]


def extend_lease(ledger: Ledger, proposed: LeaseExtended) -> list[LedgerEvent]:
    """Refused with NotFound once the lease is closed: its worker must take a new one."""
    held = ledger.leases.get(proposed.lease_id)
    if held is None or held.closing:
        raise NotFound("open lease", proposed.lease_id)
    _require_credit(ledger, proposed.amount_nanos)
    return [proposed]


def return_lease(ledger: Ledger, proposed: LeaseReturned) -> list[LedgerEvent]:
    """What settlement charged meanwhile is no longer there to return; nobody returns less than nothing."""
    held = ledger.leases.get(proposed.lease_id)
    if held is None:
        return []
    return [msgspec.structs.replace(proposed, amount_nanos=max(0, min(proposed.amount_nanos, held.open_nanos)))]


def expire_lease(ledger: Ledger, proposed: LeaseExpired) -> list[LedgerEvent]:
    held = ledger.leases.get(proposed.lease_id)
    if held is None:
        return []
    if proposed.at < held.expires_at:
        raise LeaseStillHeld(f"Lease {proposed.lease_id} is held until {held.expires_at.isoformat()}.")
    return [msgspec.structs.replace(proposed, released_nanos=held.open_nanos)]


def charge(ledger: Ledger, proposed: UsageCharged) -> list[LedgerEvent]:
    """Charging a range twice is `[]`; a range that does not start where the last one ended is refused."""
    if proposed.to_position <= ledger.settled_to:
        return []
    if proposed.from_position != ledger.settled_to:
        raise StaleCursor(ledger.settled_to)
    after = ledger.balance_nanos - proposed.amount_nanos
    return [msgspec.structs.replace(proposed, balance_after_nanos=after)]


def _require_credit(ledger: Ledger, amount_nanos: int) -> None:
    if amount_nanos < 0:
        raise InvalidInput("A lease cannot hold less than nothing.", field="amount_nanos")
    if amount_nanos and amount_nanos > ledger.available_nanos:
        raise CreditExhausted(amount_nanos, ledger.available_nanos)


# Evolution. A fact cannot be refused, so this never raises.


def evolve(ledger: Ledger, event: LedgerEvent) -> Ledger:
    kind = type(event)
    if kind is CreditGranted:
        return msgspec.structs.replace(ledger, balance_nanos=event.balance_after_nanos)  # type: ignore[union-attr]
    if kind is UsageCharged:
        return _charged(ledger, event)  # type: ignore[arg-type]
    return msgspec.structs.replace(ledger, leases=_leases_after(ledger.leases, event))


def _charged(ledger: Ledger, event: UsageCharged) -> Ledger:
    leases = dict(ledger.leases)
    for lease_id, spent_nanos in event.by_lease.items():
        _shrink(leases, lease_id, spent_nanos)
    return Ledger(event.balance_after_nanos, leases, event.to_position)


def _leases_after(leases: dict[LeaseId, Lease], event: LedgerEvent) -> dict[LeaseId, Lease]:
    after = dict(leases)
    if isinstance(event, CreditLeased):
        after[event.lease_id] = Lease(event.worker, event.amount_nanos, event.expires_at)
    elif isinstance(event, LeaseExtended):
        if held := after.get(event.lease_id):
            grown = held.open_nanos + event.amount_nanos
            after[event.lease_id] = msgspec.structs.replace(held, open_nanos=grown, expires_at=event.expires_at)
    elif isinstance(event, LeaseReturned):
        _shrink(after, event.lease_id, event.amount_nanos, closing=event.final)
    elif isinstance(event, LeaseExpired):
        after.pop(event.lease_id, None)
    return after


def _shrink(leases: dict[LeaseId, Lease], lease_id: LeaseId, amount_nanos: int, *, closing: bool = False) -> None:
    """Spending beyond a lease falls on the balance; a closing lease that is used up disappears."""
    held = leases.get(lease_id)
    if held is None:
        return
    rest = max(0, held.open_nanos - amount_nanos)
    closing = closing or held.closing
    if closing and not rest:
        del leases[lease_id]
    else:
        leases[lease_id] = msgspec.structs.replace(held, open_nanos=rest, closing=closing)


LEDGER = Aggregate("ledger", Ledger, evolve)


# Double entry. Every posting sums to zero.


class Posting(msgspec.Struct, frozen=True):
    book: str
    amount_nanos: int


def postings(event: LedgerEvent) -> tuple[Posting, ...]:
    """The legs of a fact: credit to `customer` comes from somewhere, a charge becomes `revenue`. Holds move nothing."""
    if isinstance(event, CreditGranted):
        return Posting(event.source, -event.amount_nanos), Posting("customer", event.amount_nanos)
    if isinstance(event, UsageCharged):
        return Posting("customer", -event.amount_nanos), Posting("revenue", event.amount_nanos)
    return ()
