"""Verifying `EVT`: each aggregate's events are numbered, chained, and lead to the state they carry; money adds up.

What is kept grows with the number of aggregates and charges, not with the number of events.
"""

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import msgspec

from domain.account import ACCOUNT
from domain.aggregate import Aggregate
from domain.catalog import MODEL
from domain.catalog_sources import CATALOG_SOURCES
from domain.claim import CLAIM
from domain.declared_deployment import DEPLOYMENT
from domain.declared_limits import LIMITS
from domain.declared_route import ROUTE
from domain.events import Envelope, UnknownFact, decode_envelope, decode_fact, tag_of
from domain.findings import Findings, Order
from domain.ids import AccountId
from domain.key import KEY
from domain.ledger import LEDGER, CreditGranted, Ledger, LedgerEvent, UsageCharged, postings
from domain.money import usd
from domain.ports import LogMessage
from domain.session import SESSIONS
from domain.user import USER

AGGREGATES: dict[str, Aggregate[Any]] = {
    aggregate.kind: aggregate
    for aggregates in (
        (ACCOUNT, CLAIM, KEY, LEDGER, SESSIONS, USER),
        (CATALOG_SOURCES, DEPLOYMENT, LIMITS, MODEL, ROUTE),
    )
    for aggregate in aggregates
}


class Charges:
    """What was charged to each account for which part of the request log, and what of it is not explained yet."""

    def __init__(self) -> None:
        self._ends: dict[AccountId, array[int]] = {}
        self._unexplained: dict[AccountId, array[int]] = {}
        self._positions: dict[AccountId, array[int]] = {}
        self.count = 0

    def record(self, fact: UsageCharged, position: int) -> None:
        account = fact.account_id
        self._ends.setdefault(account, array("q")).append(fact.to_position)
        self._unexplained.setdefault(account, array("q")).append(fact.amount_nanos)
        self._positions.setdefault(account, array("q")).append(position)
        self.count += 1

    def explain(self, account: AccountId, position: int, cost_nanos: int) -> bool:
        """A request that ended at `position` of `REQ` is part of a charge; False when none reaches so far yet."""
        ends = self._ends.get(account)
        index = bisect_left(ends, position) if ends else 0
        if not ends or index == len(ends):
            return False
        self._unexplained[account][index] -= cost_nanos
        return True

    def unexplained(self) -> Iterator[tuple[int, AccountId, int]]:
        """Position in `EVT`, account, and by how much the charge differs from what its requests cost."""
        for account, amounts in self._unexplained.items():
            for position, amount in zip(self._positions[account], amounts, strict=True):
                if amount:
                    yield position, account, amount


class _Last(msgspec.Struct):
    """An aggregate's last event: its number, its hash, and the state after it, encoded.

    The state is empty before the first event, and None behind an event that could not be read.
    """

    sequence: int = 0
    digest: bytes = b""
    state: bytes | None = b""


class _Carried(msgspec.Struct):
    after: msgspec.Raw = msgspec.Raw(b"")


class FactCheck:
    """Feed it `EVT` from its first message on. A deviation is reported once, where it begins."""

    def __init__(self, findings: Findings) -> None:
        self.charges = Charges()
        self.messages = 0
        self._findings = findings
        self._order = Order("EVT", findings)
        self._last: dict[str, _Last] = {}

    @property
    def aggregates(self) -> int:
        return len(self._last)

    def apply(self, message: LogMessage) -> None:
        self.messages += 1
        self._order.check(message.position)
        last = self._last.setdefault(message.subject, _Last())
        try:
            envelope = decode_envelope(message.raw)
        except msgspec.DecodeError as unreadable:
            last.sequence, last.state = last.sequence + 1, None
            self._report("unreadable", message, str(unreadable))
        else:
            self._check_envelope(message, envelope, last)
            last.state = self._state_after(message, envelope, last.state)
        last.digest = hashlib.sha256(message.raw).digest()

    def _check_envelope(self, message: LogMessage, envelope: Envelope, last: _Last) -> None:
        kind, _, ident = envelope.subject.partition("/")
        if message.subject.split(".", 2)[2:] != [f"{kind}.{ident}"]:
            self._report("wrong_subject", message, f"an event of {envelope.subject} stands under {message.subject}")
        if envelope.sequence != last.sequence + 1:
            detail = f"{envelope.subject} has event {envelope.sequence} where {last.sequence + 1} is due"
            self._report("sequence_broken", message, detail)
        if envelope.prevhash != last.digest.hex():
            detail = f"event {envelope.sequence} of {envelope.subject} does not carry the hash of the event before it"
            self._report("chain_broken", message, detail)
        last.sequence = envelope.sequence

    def _state_after(self, message: LogMessage, envelope: Envelope, before: bytes | None) -> bytes | None:
        """What to go on from: the state that is carried, for that is what the next decision saw."""
        aggregate = AGGREGATES.get(message.subject.split(".")[2])
        if aggregate is None:
            self._report("unknown_fact", message, f"no aggregate of this release lives under {message.subject}")
            return None
        try:
            fact = decode_fact(envelope)
            carried = bytes(msgspec.json.decode(envelope.data, type=_Carried).after)
            state = aggregate.initial() if before == b"" else _decode(before, aggregate) if before else None
            return self._check_fact(message, aggregate, state, fact, carried)
        except UnknownFact as unknown:
            self._report("unknown_fact", message, str(unknown))
        except msgspec.DecodeError as unreadable:
            self._report("unreadable", message, str(unreadable))
        return None

    def _check_fact(
        self, message: LogMessage, aggregate: Aggregate[Any], before: Any, fact: Any, carried: bytes
    ) -> bytes | None:
        if before is None:
            return carried or None
        try:
            folded = aggregate.evolve(before, fact)
        except Exception as failure:
            self._report("state_differs", message, f"{tag_of(fact)} does not fit {message.subject}: {failure!r}")
            return carried or None
        if aggregate is LEDGER:
            self._check_money(message, before, fact)
        encoded = msgspec.json.encode(folded)
        if carried and carried != encoded and _decode(carried, aggregate) != folded:
            self._report("state_differs", message, f"{tag_of(fact)} carries another state than the facts give")
        return carried or encoded

    def _check_money(self, message: LogMessage, before: Ledger, fact: LedgerEvent) -> None:
        if total := sum(posting.amount_nanos for posting in postings(fact)):
            self._report("postings_unbalanced", message, f"the postings sum to {usd(total)} USD, not to zero")
        if isinstance(fact, CreditGranted):
            self._check_balance(message, before.balance_nanos + fact.amount_nanos, fact.balance_after_nanos)
        elif isinstance(fact, UsageCharged):
            self._check_balance(message, before.balance_nanos - fact.amount_nanos, fact.balance_after_nanos)
            self._check_charge(message, before, fact)
            self.charges.record(fact, message.position)

    def _check_balance(self, message: LogMessage, due_nanos: int, recorded_nanos: int) -> None:
        if due_nanos != recorded_nanos:
            detail = f"the balance after it should be {usd(due_nanos)} USD and is {usd(recorded_nanos)} USD"
            self._report("balance_differs", message, detail)

    def _check_charge(self, message: LogMessage, before: Ledger, fact: UsageCharged) -> None:
        if fact.from_position != before.settled_to or fact.to_position <= fact.from_position:
            detail = f"charges REQ ({fact.from_position}, {fact.to_position}] where {before.settled_to} was settled"
            self._report("charge_range", message, detail)
        leases = sum(fact.by_lease.values())
        models = sum(usage.cost_nanos for usage in fact.by_model.values())
        if not leases == models == fact.amount_nanos:
            parts = f"{usd(leases)} USD by lease, {usd(models)} USD by model"
            self._report("charge_split", message, f"charges {usd(fact.amount_nanos)} USD, but {parts}")

    def _report(self, code: str, message: LogMessage, detail: str) -> None:
        self._findings.add(code, "EVT", message.position, detail)


def _decode(state: bytes, aggregate: Aggregate[Any]) -> Any:
    return msgspec.json.decode(state, type=aggregate.state_type)
