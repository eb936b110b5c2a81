"""Hard budgets: whatever the number of workers and requests, exactly what the credit allows is admitted."""

import asyncio
from datetime import timedelta

import pytest

from commands.credit_leases import IDLE_AFTER, LEASE_TERM, RENEW_BEFORE, REQUESTS_AHEAD, SAFETY, Reservation
from commands.store import Cause, EventStore
from domain.errors import CreditExhausted, Unavailable
from domain.ids import AccountId, CommandId
from domain.ledger import LEDGER, CreditLeased, LeaseExpired, LeaseReturned, expire_lease
from tests.leasing import COST, SometimesAway, Workers
from tests.money import ACCOUNT, ledger_events, ledger_of


@pytest.fixture
async def one() -> Workers:
    workers = Workers(1)
    await workers.credit(10 * COST)
    return workers


@pytest.mark.parametrize("count", [1, 2, 4])
async def test_of_fifty_requests_at_once_on_credit_for_ten_exactly_ten_are_admitted(count: int) -> None:
    workers = Workers(count)
    await workers.credit(10 * COST)

    admitted = await workers.try_all([COST] * 50)

    assert len(admitted) == 10
    ledger = await ledger_of(workers.log)
    assert ledger.available_nanos >= 0
    assert sum(reservation.amount_nanos for reservation in admitted) <= ledger.leased_nanos <= ledger.balance_nanos


@pytest.mark.parametrize("count", [1, 2, 4])
async def test_requests_of_many_sizes_never_reserve_more_than_the_credit(count: int) -> None:
    workers = Workers(count)
    await workers.credit(10 * COST)

    admitted = await workers.try_all([COST * (1 + index * 7 % 5) for index in range(30)])

    assert 0 < sum(reservation.amount_nanos for reservation in admitted) <= 10 * COST
    assert (await ledger_of(workers.log)).available_nanos >= 0


async def test_credit_that_lies_idle_with_another_worker_is_found() -> None:
    workers = Workers(2)
    await workers.credit(10 * COST)
    (await workers.all[0].reserve(ACCOUNT, COST)).release(0)

    reservation = await workers.all[1].reserve(ACCOUNT, 10 * COST)

    assert reservation.amount_nanos == 10 * COST


async def test_a_request_that_costs_more_than_all_credit_says_so(one: Workers) -> None:
    with pytest.raises(CreditExhausted) as refusal:
        await one.all[0].reserve(ACCOUNT, 10 * COST + 1)

    assert (refusal.value.needed_nanos, refusal.value.available_nanos) == (10 * COST + 1, 10 * COST)


@pytest.mark.parametrize("steps", range(12))
async def test_credit_that_was_leased_for_somebody_who_left_is_not_lost(one: Workers, steps: int) -> None:
    """Who leaves at any moment of it; the first lease is not enough for the second request."""
    (worker,) = one.all
    (await worker.reserve(ACCOUNT, COST)).release(0)
    leaving = asyncio.create_task(worker.reserve(ACCOUNT, 9 * COST))
    for _ in range(steps):
        await asyncio.sleep(0)
    leaving.cancel()
    (left,) = await asyncio.gather(leaving, return_exceptions=True)
    if isinstance(left, Reservation):
        left.release(0)

    assert (await worker.reserve(ACCOUNT, 10 * COST)).amount_nanos == 10 * COST


async def test_spent_credit_is_gone_and_unspent_credit_is_free_again(one: Workers) -> None:
    (leases,) = one.all
    first = await leases.reserve(ACCOUNT, 6 * COST)
    first.release(2 * COST)

    with pytest.raises(CreditExhausted):
        await leases.reserve(ACCOUNT, 9 * COST)
    assert (await leases.reserve(ACCOUNT, 8 * COST)).amount_nanos == 8 * COST


async def test_within_a_lease_admission_asks_no_log(one: Workers) -> None:
    (leases,) = one.all
    await leases.reserve(ACCOUNT, COST)
    appends = one.log.appends

    assert leases.try_reserve(ACCOUNT, COST, one.clock()) is not None

    assert one.log.appends == appends


@pytest.mark.parametrize("cost", [COST, 1_000_000 * COST])
async def test_requests_that_wait_together_share_one_lease(cost: int) -> None:
    workers = Workers(1)
    await workers.credit(1_000 * cost)

    assert len(await workers.try_all([cost] * 50)) == 50

    assert len(await ledger_events(workers.log)) == 2


async def test_a_lease_is_made_for_more_requests_like_the_first() -> None:
    workers = Workers(1)
    await workers.credit(1_000_000_000 * COST)

    for _ in range(REQUESTS_AHEAD):
        await workers.all[0].reserve(ACCOUNT, 1_000_000 * COST)

    assert len(await ledger_events(workers.log)) == 2


async def test_requests_that_cost_nothing_are_admitted_without_credit() -> None:
    workers = Workers(2)

    admitted = await workers.try_all([0] * 20)

    assert len(admitted) == 20
    assert {lease.open_nanos for lease in (await ledger_of(workers.log)).leases.values()} == {0}


async def test_requests_that_cost_nothing_do_not_disturb_paid_ones_that_wait(one: Workers) -> None:
    admitted = await one.try_all([0, COST, 0, COST, 0] * 4)

    assert len(admitted) == 20


async def test_an_idle_lease_is_given_back_whole(one: Workers) -> None:
    (leases,) = one.all
    (await leases.reserve(ACCOUNT, COST)).release(0)

    one.clock.turn(IDLE_AFTER.total_seconds() + 1)
    await leases.tend()

    assert len(leases) == 0
    ledger = await ledger_of(one.log)
    assert (ledger.leases, ledger.available_nanos) == ({}, 10 * COST)


async def test_a_lease_that_is_used_now_and_then_is_kept(one: Workers) -> None:
    (leases,) = one.all
    for _ in range(5):
        (await leases.reserve(ACCOUNT, COST)).release(0)
        one.clock.turn(IDLE_AFTER.total_seconds())
        await leases.tend()

    assert len(leases) == 1


async def test_what_an_idle_lease_spent_stays_held_until_it_is_charged(one: Workers) -> None:
    (leases,) = one.all
    (await leases.reserve(ACCOUNT, COST)).release(300)

    one.clock.turn(IDLE_AFTER.total_seconds() + 1)
    await leases.tend()

    (held,) = (await ledger_of(one.log)).leases.values()
    assert (held.open_nanos, held.closing) == (300, True)


@pytest.mark.parametrize("amount", [0, COST])
async def test_a_lease_with_a_running_request_is_kept_and_renewed(one: Workers, amount: int) -> None:
    """Also when the request costs nothing: its lease is how it is found if this worker dies."""
    (leases,) = one.all
    reservation = await leases.reserve(ACCOUNT, amount)

    for _ in range(20):
        one.clock.turn(RENEW_BEFORE.total_seconds() / 2)
        await leases.tend()
        await leases.give_back(ACCOUNT)

    (held,) = (await ledger_of(one.log)).leases.values()
    assert held.expires_at - one.clock() > SAFETY
    assert (held.open_nanos, held.closing) == (amount, False)
    assert reservation.lease_id in (await ledger_of(one.log)).leases


async def test_a_lease_near_its_end_admits_nothing_before_it_is_renewed(one: Workers) -> None:
    (leases,) = one.all
    await leases.reserve(ACCOUNT, COST)

    one.clock.turn((LEASE_TERM - SAFETY).total_seconds())

    assert leases.try_reserve(ACCOUNT, COST, one.clock()) is None
    await leases.reserve(ACCOUNT, COST)
    (held,) = (await ledger_of(one.log)).leases.values()
    assert held.expires_at == one.clock() + LEASE_TERM


async def test_a_lease_that_expired_behind_our_back_is_replaced(one: Workers) -> None:
    """Settlement took it away; whoever asks next gets a new one."""
    (leases,) = one.all
    lost = await leases.reserve(ACCOUNT, COST)
    one.clock.turn(LEASE_TERM.total_seconds() + 1)
    await expire(one, lost)

    found = await leases.reserve(ACCOUNT, 10 * COST)

    assert found.lease_id != lost.lease_id
    lost.release(COST)
    assert list((await ledger_of(one.log)).leases) == [found.lease_id]


async def test_tending_a_lost_lease_forgets_it(one: Workers) -> None:
    (leases,) = one.all
    lost = await leases.reserve(ACCOUNT, COST)
    one.clock.turn(LEASE_TERM.total_seconds() + 1)
    await expire(one, lost)

    await leases.tend()

    assert len(leases) == 0


async def test_another_worker_takes_over_what_an_expired_lease_held() -> None:
    workers = Workers(2)
    await workers.credit(10 * COST)
    dead = await workers.all[0].reserve(ACCOUNT, 10 * COST)
    with pytest.raises(CreditExhausted):
        await workers.all[1].reserve(ACCOUNT, COST)

    workers.clock.turn(LEASE_TERM.total_seconds() + 1)
    await expire(workers, dead)

    assert (await workers.all[1].reserve(ACCOUNT, 10 * COST)).amount_nanos == 10 * COST


async def expire(workers: Workers, reservation: Reservation) -> None:
    proposed = LeaseExpired(account_id=ACCOUNT, at=workers.clock(), lease_id=reservation.lease_id)
    cause = Cause(CommandId(f"expire-{reservation.lease_id}"), workers.clock(), actor="settlement")
    store = EventStore(workers.log, "/settlement")
    await store.change(LEDGER, LEDGER.at(ACCOUNT), lambda ledger: expire_lease(ledger, proposed), cause)


async def test_closing_returns_everything_but_what_still_runs(one: Workers) -> None:
    (leases,) = one.all
    await leases.reserve(ACCOUNT, COST)

    await leases.close()

    assert (await ledger_of(one.log)).available_nanos == 9 * COST


async def test_after_an_overrun_the_next_lease_makes_good_for_it(one: Workers) -> None:
    (leases,) = one.all
    (await leases.reserve(ACCOUNT, COST)).release(4 * COST)

    reservation = await leases.reserve(ACCOUNT, COST)

    assert reservation.holding.free_nanos >= 0
    with pytest.raises(CreditExhausted):
        await leases.reserve(ACCOUNT, 6 * COST)


async def test_without_a_log_nothing_new_is_leased_and_nothing_is_lost() -> None:
    log = SometimesAway()
    workers = Workers(1, log)
    await workers.credit(10 * COST)
    (leases,) = workers.all
    (await leases.reserve(ACCOUNT, COST)).release(0)

    log.away = True
    with pytest.raises(Unavailable):
        await leases.reserve(ACCOUNT, 9 * COST)

    log.away = False
    assert (await leases.reserve(ACCOUNT, 9 * COST)).amount_nanos == 9 * COST


async def test_tending_outlives_an_outage_of_the_log() -> None:
    log = SometimesAway()
    workers = Workers(1, log)
    await workers.credit(10 * COST)
    reservation = await workers.all[0].reserve(ACCOUNT, COST)
    workers.clock.turn((LEASE_TERM - RENEW_BEFORE).total_seconds() + 1)

    log.away = True
    await workers.all[0].tend()
    log.away = False
    await workers.all[0].tend()

    assert (await ledger_of(log)).leases[reservation.lease_id].expires_at == workers.clock() + LEASE_TERM


async def test_tending_never_takes_away_a_lease_that_was_opened_meanwhile(one: Workers) -> None:
    """While it is busy with another account, this one's idle lease is recalled and a request opens the next."""
    (leases,) = one.all
    (await leases.reserve(AccountId("other"), 0)).release(0)
    (await leases.reserve(ACCOUNT, COST)).release(0)
    one.clock.turn(IDLE_AFTER.total_seconds() + 1)

    _, _, reservation = await asyncio.gather(leases.tend(), leases.give_back(ACCOUNT), leases.reserve(ACCOUNT, COST))

    assert len(leases) == 1
    assert list((await ledger_of(one.log)).leases) == [reservation.lease_id]


async def test_every_lease_event_names_its_worker_as_actor(one: Workers) -> None:
    (leases,) = one.all
    (await leases.reserve(ACCOUNT, COST)).release(0)
    await leases.give_back(ACCOUNT)

    history = await one.log.history(LEDGER.at(ACCOUNT))

    assert [recorded.envelope.actor for recorded in history[1:]] == ["worker:w0", "worker:w0"]
    assert [type(fact) for fact in (await ledger_events(one.log))[1:]] == [CreditLeased, LeaseReturned]


def test_a_renewal_comes_well_before_the_end_and_safety_well_within_it() -> None:
    assert timedelta() < SAFETY < RENEW_BEFORE < LEASE_TERM
    assert IDLE_AFTER < RENEW_BEFORE
