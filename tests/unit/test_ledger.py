"""An account's credit, fact by fact: what is recorded, what is already so, what is refused."""

from datetime import timedelta

import msgspec
import pytest

from domain.errors import CreditExhausted, InvalidInput, LeaseStillHeld, NotFound, StaleCursor
from domain.ids import LeaseId
from domain.ledger import (
    LEDGER,
    CreditLeased,
    Lease,
    LeaseExpired,
    LeaseExtended,
    LeaseReturned,
    Ledger,
    LedgerEvent,
    Posting,
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

LATER = AT + timedelta(minutes=1)
MUCH_LATER = LATER + timedelta(minutes=1)
L0, L1 = LeaseId("l0"), LeaseId("l1")


def given(*facts: LedgerEvent) -> Ledger:
    """What the facts come to, once a decision has recorded each."""
    ledger = LEDGER.initial()
    for fact in facts:
        ledger = LEDGER.fold(decide(ledger, fact), ledger)
    return ledger


def decide(ledger: Ledger, proposed: LedgerEvent) -> list[LedgerEvent]:
    if isinstance(proposed, CreditLeased):
        return lease(ledger, proposed)
    if isinstance(proposed, LeaseExtended):
        return extend_lease(ledger, proposed)
    if isinstance(proposed, LeaseReturned):
        return return_lease(ledger, proposed)
    if isinstance(proposed, LeaseExpired):
        return expire_lease(ledger, proposed)
    return charge(ledger, proposed) if isinstance(proposed, UsageCharged) else grant(ledger, proposed)


def leased(amount: int, lease_id: LeaseId = L0) -> CreditLeased:
    return CreditLeased(account_id=ACCOUNT, at=AT, lease_id=lease_id, worker="w", amount_nanos=amount, expires_at=LATER)


def extended(amount: int, lease_id: LeaseId = L0) -> LeaseExtended:
    return LeaseExtended(account_id=ACCOUNT, at=AT, lease_id=lease_id, amount_nanos=amount, expires_at=MUCH_LATER)


def returned(amount: int, lease_id: LeaseId = L0, *, final: bool = False) -> LeaseReturned:
    return LeaseReturned(account_id=ACCOUNT, at=AT, lease_id=lease_id, amount_nanos=amount, final=final)


def expired(lease_id: LeaseId = L0) -> LeaseExpired:
    return LeaseExpired(account_id=ACCOUNT, at=LATER, lease_id=lease_id)


def charged(start: int, end: int, amount: int, lease_id: LeaseId = L0) -> UsageCharged:
    return UsageCharged(
        account_id=ACCOUNT,
        at=AT,
        from_position=start,
        to_position=end,
        amount_nanos=amount,
        by_lease={lease_id: amount},
        by_model={},
    )


def test_a_grant_adds_to_the_balance_and_says_what_it_comes_to() -> None:
    (recorded,) = grant(given(credit(100)), credit(50))

    assert recorded == msgspec.structs.replace(credit(50), balance_after_nanos=150)


@pytest.mark.parametrize("amount", [0, -1])
def test_a_grant_of_nothing_or_less_is_refused(amount: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        grant(given(credit(100)), credit(amount))

    assert refusal.value.field == "amount_usd"


def test_open_leases_count_against_the_balance() -> None:
    ledger = given(credit(100), leased(80))

    with pytest.raises(CreditExhausted) as refusal:
        lease(ledger, leased(40, L1))

    assert (refusal.value.needed_nanos, refusal.value.available_nanos) == (40, 20)


def test_a_lease_may_take_all_that_is_available() -> None:
    assert given(credit(100), leased(80), leased(20, L1)).available_nanos == 0


def test_the_same_lease_twice_is_recorded_once() -> None:
    assert lease(given(credit(100), leased(80)), leased(80)) == []


def test_a_lease_of_nothing_needs_no_credit() -> None:
    assert given(leased(0)).leases == {L0: Lease("w", 0, LATER)}


def test_a_lease_of_less_than_nothing_is_refused() -> None:
    for proposed in (leased(-1, L1), extended(-1)):
        with pytest.raises(InvalidInput):
            decide(given(credit(100), leased(10)), proposed)


def test_an_extension_brings_more_credit_and_more_time() -> None:
    assert given(credit(100), leased(30), extended(20)).leases == {L0: Lease("w", 50, MUCH_LATER)}


def test_an_extension_needs_credit_too() -> None:
    with pytest.raises(CreditExhausted):
        extend_lease(given(credit(100), leased(80)), extended(21))


def test_time_alone_can_be_extended_when_no_credit_is_left() -> None:
    overrun = given(credit(100), leased(100), charged(0, 1, 130))

    assert overrun.available_nanos < 0
    assert extend_lease(overrun, extended(0)) == [extended(0)]


def test_a_lease_that_is_closing_or_gone_is_not_extended() -> None:
    for ledger in (given(credit(100)), given(credit(100), leased(80), returned(30, final=True))):
        with pytest.raises(NotFound):
            extend_lease(ledger, extended(1))


def test_what_is_returned_is_available_again() -> None:
    ledger = given(credit(100), leased(80), returned(30))

    assert (ledger.available_nanos, ledger.leases[L0].open_nanos) == (50, 50)


def test_what_settlement_charged_meanwhile_cannot_be_returned() -> None:
    ledger = given(credit(100), leased(80), charged(0, 1, 60))

    assert return_lease(ledger, returned(50)) == [returned(20)]


def test_returning_less_than_nothing_makes_no_lease_grow() -> None:
    assert return_lease(given(credit(100), leased(80)), returned(-50)) == [returned(0)]


def test_a_return_to_a_lease_that_is_gone_is_already_so() -> None:
    assert return_lease(given(credit(100)), returned(5)) == []


def test_a_final_return_leaves_open_what_was_spent_until_it_is_charged() -> None:
    ledger = given(credit(100), leased(80), returned(50, final=True))
    assert ledger.leases == {L0: Lease("w", 30, LATER, closing=True)}

    assert given(credit(100), leased(80), returned(50, final=True), charged(0, 1, 30)) == Ledger(70, {}, 1)


def test_a_lease_is_not_expired_before_its_time() -> None:
    ledger = given(credit(100), leased(80), extended(0))

    with pytest.raises(LeaseStillHeld):
        expire_lease(ledger, expired())


def test_an_expired_lease_frees_what_is_left_of_it() -> None:
    ledger = given(credit(100), leased(80), charged(0, 1, 30))

    (recorded,) = expire_lease(ledger, expired())

    assert recorded == msgspec.structs.replace(expired(), released_nanos=50)
    assert LEDGER.evolve(ledger, recorded) == Ledger(70, {}, 1)


def test_a_lease_expires_once() -> None:
    assert expire_lease(given(credit(100), leased(80), expired()), expired()) == []


def test_a_charge_comes_out_of_the_balance_and_its_lease() -> None:
    ledger = given(credit(100), leased(80), charged(0, 7, 30))

    assert ledger == Ledger(70, {L0: Lease("w", 50, LATER)}, 7)


def test_charging_a_range_twice_changes_nothing() -> None:
    ledger = given(credit(100), charged(0, 7, 30))

    assert charge(ledger, charged(0, 7, 30)) == []
    assert charge(ledger, charged(3, 5, 30)) == []


@pytest.mark.parametrize("start", [0, 6, 8])
def test_a_range_that_does_not_begin_where_the_last_ended_is_refused(start: int) -> None:
    with pytest.raises(StaleCursor) as refusal:
        charge(given(credit(100), charged(0, 7, 30)), charged(start, 9, 1))

    assert refusal.value.settled_to == 7


def test_spending_beyond_a_lease_falls_on_the_balance() -> None:
    assert given(credit(100), leased(10), charged(0, 1, 40)) == Ledger(60, {L0: Lease("w", 0, LATER)}, 1)


def test_a_charge_to_a_lease_that_is_gone_falls_on_the_balance() -> None:
    assert given(credit(100), charged(0, 1, 40)) == Ledger(60, {}, 1)


def test_a_grant_comes_from_its_source_and_a_charge_becomes_revenue() -> None:
    assert postings(credit(5)) == (Posting("manual", -5), Posting("customer", 5))
    assert postings(charged(0, 1, 3)) == (Posting("customer", -3), Posting("revenue", 3))


def test_holds_move_no_money() -> None:
    for hold in (leased(1), extended(1), returned(1), expired()):
        assert postings(hold) == ()
