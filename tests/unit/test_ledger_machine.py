"""Workers that lease, spend, return and die in any order, and a settlement that comes whenever it likes."""

from contextlib import suppress
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain.errors import AggregatorError, CreditExhausted, StaleCursor
from domain.ids import LeaseId
from domain.ledger import (
    LEDGER,
    CreditGranted,
    CreditLeased,
    LeaseExpired,
    LeaseExtended,
    LeaseReturned,
    Ledger,
    LedgerEvent,
    ModelUsage,
    UsageCharged,
    charge,
    expire_lease,
    extend_lease,
    grant,
    lease,
    postings,
    return_lease,
)
from tests.money import ACCOUNT, AT, credit
from tests.unit.test_ledger import LATER, charged, decide, expired, extended, leased, returned

AMOUNT = st.integers(0, 60)


class Held(msgspec.Struct):
    """A lease as its worker counts it."""

    lease_id: LeaseId
    granted: int
    spent: int = 0
    running: list[int] = []
    dead: bool = False

    @property
    def free(self) -> int:
        return self.granted - self.spent - sum(self.running)


class CreditUnderWorkers(RuleBasedStateMachine):
    """No request spends more than it reserved; then no credit is spent twice."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = LEDGER.initial()
        self.history: list[LedgerEvent] = []
        self.states = [self.ledger]
        self.held: list[Held] = []
        self.ends: list[tuple[LeaseId, int]] = []  # what ended, in the request log's order
        self.count = 0

    def record(self, facts: list[LedgerEvent]) -> None:
        for fact in facts:
            self.ledger = LEDGER.evolve(self.ledger, fact)
            self.history.append(fact)
            self.states.append(self.ledger)

    def living(self, data: st.DataObject) -> Held:
        return data.draw(st.sampled_from([held for held in self.held if not held.dead]))

    @property
    def anyone_lives(self) -> bool:
        return any(not held.dead for held in self.held)

    @rule(amount=st.integers(1, 200))
    def credit_is_granted(self, amount: int) -> None:
        self.record(grant(self.ledger, credit(amount)))

    @rule(amount=AMOUNT)
    def a_worker_leases(self, amount: int) -> None:
        self.count += 1
        lease_id = LeaseId(f"l{self.count}")
        try:
            self.record(lease(self.ledger, leased(amount, lease_id)))
        except CreditExhausted as refusal:
            assert refusal.available_nanos == self.ledger.available_nanos < amount
        else:
            self.held.append(Held(lease_id, amount))

    @precondition(lambda self: self.anyone_lives)
    @rule(data=st.data(), amount=AMOUNT)
    def a_worker_extends(self, data: st.DataObject, amount: int) -> None:
        held = self.living(data)
        try:
            self.record(extend_lease(self.ledger, extended(amount, held.lease_id)))
        except CreditExhausted:
            assert amount > self.ledger.available_nanos
        else:
            held.granted += amount

    @precondition(lambda self: self.anyone_lives)
    @rule(data=st.data())
    def a_request_begins(self, data: st.DataObject) -> None:
        held = self.living(data)
        held.running.append(data.draw(st.integers(0, held.free)))

    @precondition(lambda self: any(held.running for held in self.held))
    @rule(data=st.data())
    def a_request_ends(self, data: st.DataObject) -> None:
        """By its worker, or as abandoned when that is dead."""
        held = data.draw(st.sampled_from([held for held in self.held if held.running]))
        reserved = held.running.pop(data.draw(st.integers(0, len(held.running) - 1)))
        cost = data.draw(st.integers(0, reserved))
        held.spent += cost
        self.ends.append((held.lease_id, cost))

    @precondition(lambda self: self.anyone_lives)
    @rule(data=st.data())
    def a_worker_returns_what_is_free(self, data: st.DataObject) -> None:
        held = self.living(data)
        final = not held.running and data.draw(st.booleans())
        amount = held.free
        self.record(return_lease(self.ledger, returned(amount, held.lease_id, final=final)))
        held.granted -= amount
        if final:
            self.held.remove(held)

    @precondition(lambda self: self.anyone_lives)
    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        self.living(data).dead = True

    @precondition(lambda self: any(held.dead and not held.running for held in self.held))
    @rule(data=st.data())
    def a_dead_workers_lease_expires_once_all_is_charged(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from([held for held in self.held if held.dead and not held.running]))
        self.usage_is_charged(len(self.ends))
        proposed = msgspec.structs.replace(expired(held.lease_id), at=AT + timedelta(days=1))
        self.record(expire_lease(self.ledger, proposed))
        assert expire_lease(self.ledger, proposed) == []
        self.held.remove(held)

    @precondition(lambda self: len(self.ends) > self.ledger.settled_to)
    @rule(data=st.data())
    def settlement_comes(self, data: st.DataObject) -> None:
        self.usage_is_charged(data.draw(st.integers(self.ledger.settled_to + 1, len(self.ends))))

    def usage_is_charged(self, up_to: int) -> None:
        start = self.ledger.settled_to
        spent: dict[LeaseId, int] = {}
        for lease_id, cost in self.ends[start:up_to]:
            spent[lease_id] = spent.get(lease_id, 0) + cost
        proposed = msgspec.structs.replace(charged(start, up_to, sum(spent.values())), by_lease=spent)
        self.record(charge(self.ledger, proposed))
        assert charge(self.ledger, proposed) == []

    @rule(distance=st.integers(1, 5), later=st.booleans())
    def a_settlement_that_knows_too_little_or_too_much_is_refused(self, distance: int, *, later: bool) -> None:
        settled = self.ledger.settled_to
        start = settled + distance if later else settled - distance
        with pytest.raises(StaleCursor):
            charge(self.ledger, charged(start, settled + 10, 1))

    @invariant()
    def no_credit_is_promised_twice(self) -> None:
        assert self.ledger.leased_nanos <= self.ledger.balance_nanos
        assert self.ledger.available_nanos >= 0

    @invariant()
    def every_worker_may_spend_only_what_the_ledger_holds_open(self) -> None:
        unsettled = self.ends[self.ledger.settled_to :]
        for held in self.held:
            owed = sum(cost for lease_id, cost in unsettled if lease_id == held.lease_id)
            assert held.free + sum(held.running) + owed == self.ledger.leases[held.lease_id].open_nanos

    @invariant()
    def the_last_figure_is_the_sum_of_all_that_happened(self) -> None:
        legs = [leg for fact in self.history for leg in postings(fact)]
        figures = [fact.balance_after_nanos for fact in self.history if isinstance(fact, CreditGranted | UsageCharged)]

        assert sum(leg.amount_nanos for leg in legs) == 0
        assert sum(leg.amount_nanos for leg in legs if leg.book == "customer") == self.ledger.balance_nanos
        assert (figures or [0])[-1] == self.ledger.balance_nanos

    def teardown(self) -> None:
        """Whatever prefix is replayed, it comes to the state that its last event carried."""
        for index, carried in enumerate(self.states):
            assert LEDGER.fold(self.history[:index]) == carried
            assert msgspec.json.decode(msgspec.json.encode(carried), type=Ledger) == carried


CreditUnderWorkers.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
test_credit_under_workers = CreditUnderWorkers.TestCase

INTEGER = st.integers(-1000, 1000)
LEASE_ID = st.sampled_from([LeaseId("l0"), LeaseId("l1"), LeaseId("l2")])
TIME: st.SearchStrategy[datetime] = st.sampled_from([AT, LATER, AT + timedelta(days=1)])
COMMON = {"account_id": st.just(ACCOUNT), "at": TIME}
LEASING = {**COMMON, "lease_id": LEASE_ID, "amount_nanos": INTEGER, "expires_at": TIME}
GRANT_OR_HOLD: st.SearchStrategy[LedgerEvent] = st.one_of(
    st.builds(
        CreditGranted,
        **COMMON,
        amount_nanos=INTEGER,
        source=st.sampled_from(["manual", "stripe", "promotion"]),
        reason=st.text(),
        balance_after_nanos=INTEGER,
    ),
    st.builds(CreditLeased, **LEASING, worker=st.text()),
    st.builds(LeaseExtended, **LEASING),
    st.builds(LeaseReturned, **COMMON, lease_id=LEASE_ID, amount_nanos=INTEGER, final=st.booleans()),
    st.builds(LeaseExpired, **COMMON, lease_id=LEASE_ID, released_nanos=INTEGER),
)
ANY_FACT: st.SearchStrategy[LedgerEvent] = GRANT_OR_HOLD | st.builds(
    UsageCharged,
    **COMMON,
    from_position=INTEGER,
    to_position=INTEGER,
    amount_nanos=INTEGER,
    by_lease=st.dictionaries(LEASE_ID, INTEGER),
    by_model=st.dictionaries(st.text(), st.builds(ModelUsage, INTEGER, INTEGER)),
    balance_after_nanos=INTEGER,
)


@given(st.lists(ANY_FACT, max_size=12), ANY_FACT)
def test_any_history_folds_and_any_proposal_is_answered_in_the_domains_own_words(
    history: list[LedgerEvent], proposed: LedgerEvent
) -> None:
    ledger = LEDGER.fold(history)

    try:
        facts = decide(ledger, proposed)
    except AggregatorError:
        return

    assert LEDGER.fold(facts, ledger) is not None
    assert all(sum(leg.amount_nanos for leg in postings(fact)) == 0 for fact in facts)


@given(st.lists(GRANT_OR_HOLD, max_size=20))
def test_whatever_is_proposed_no_hold_promises_more_than_is_available(proposals: list[LedgerEvent]) -> None:
    ledger = LEDGER.initial()
    for proposed in proposals:
        with suppress(AggregatorError):
            ledger = LEDGER.fold(decide(ledger, proposed), ledger)
        assert 0 <= ledger.leased_nanos <= ledger.balance_nanos
