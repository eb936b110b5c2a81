"""Settlement end to end: charged once, whoever runs it and whenever; what died is found, ended and set free."""

import asyncio
from collections.abc import Sequence

import pytest

from commands.credit_leases import LEASE_TERM, Reservation
from commands.settle_usage import GRACE, LEASE_TERM_BOUND
from commands.store import EventStore
from domain.errors import OutcomeUnknown
from domain.ids import AccountId
from domain.ledger import LEDGER, Ledger
from domain.request import RequestAbandoned
from tests.money import ACCOUNT, admitted, give_credit, ledger_events, ledger_of
from tests.settling import CREDIT, DEAD_AFTER_S, KnownLeases, SettlingHouse


@pytest.fixture
async def house() -> SettlingHouse:
    house = SettlingHouse()
    await give_credit(EventStore(house.log, "/tests"), CREDIT)
    return house


async def test_what_ended_is_charged_to_its_account_in_one_event(house: SettlingHouse) -> None:
    for number, cost in enumerate([30, 0, 12]):
        await house.end(f"r{number}", await house.begin(f"r{number}"), cost)

    await house.settled()

    assert await house.charges() == [42]
    assert (await ledger_of(house.log)).balance_nanos == CREDIT - 42


async def test_settling_again_and_later_charges_nothing_twice(house: SettlingHouse) -> None:
    await house.end("r", await house.begin("r"), 30)
    for _ in range(3):
        await house.settled()
        await house.settled(house.settlement())
        house.progress.progress = None
        house.clock.turn(3600)
        await house.settled(house.settlement())

    assert await house.charges() == [30]


async def test_two_owners_at_once_charge_once(house: SettlingHouse) -> None:
    for number in range(20):
        await house.end(f"r{number}", await house.begin(f"r{number}"), 7)

    await asyncio.gather(*(house.settled(house.settlement()) for _ in range(4)))

    assert await house.charges() == [140]


async def test_many_accounts_are_charged_each_its_own(house: SettlingHouse) -> None:
    accounts = [AccountId(f"acc-{number}") for number in range(40)]
    for number, account in enumerate(accounts):
        await give_credit(EventStore(house.log, "/tests"), CREDIT, account)
        await house.end(f"r-{account}", await house.begin(f"r-{account}", account), number + 1)

    await house.settled()

    assert [await house.charges(account) for account in accounts] == [[number + 1] for number in range(40)]


async def test_a_request_that_costs_nothing_is_settled_without_a_ledger_event(house: SettlingHouse) -> None:
    await house.end("r", await house.begin("r"), 0)
    before = await ledger_events(house.log)

    await house.settled()

    assert await ledger_events(house.log) == before
    assert (house.stored.settled_position, house.stored.resume_position, house.stored.evt_position) == (2, 2, 0)


async def test_who_waits_for_a_charge_learns_where_in_the_log_it_stands(house: SettlingHouse) -> None:
    await house.end("r", await house.begin("r"), 5)

    await house.settled()

    assert house.stored.evt_position == (await house.log.history(LEDGER.at(ACCOUNT)))[-1].position


async def test_a_running_request_is_left_alone_as_long_as_its_worker_renews_the_lease(house: SettlingHouse) -> None:
    reservation = await house.begin("r")
    for _ in range(20):
        house.clock.turn(20)
        await house.leases.tend()
        await house.settled()

    assert house.stored.open_requests == 1
    assert house.stored.oldest_open_at == house.requests.events[0].at
    await house.end("r", reservation, 30)
    await house.settled()
    assert await house.charges() == [30]


async def test_a_dead_workers_request_is_ended_and_charged_its_input_and_its_lease_freed(house: SettlingHouse) -> None:
    await house.begin("r", amount=500)
    house.clock.turn(DEAD_AFTER_S)

    await house.settled()

    assert isinstance(house.requests.events[-1], RequestAbandoned)
    assert await house.charges() == [3]
    ledger = await ledger_of(house.log)
    assert (ledger.leases, ledger.available_nanos) == ({}, CREDIT - 3)


async def test_a_dead_workers_request_is_ended_once_and_its_lease_freed_only_after_it_is_paid(
    house: SettlingHouse,
) -> None:
    await house.begin("r", amount=500)
    house.clock.turn(DEAD_AFTER_S)
    house.settle.apply(1, house.requests.messages[0])

    for _ in range(3):
        await house.settle.tick(1, house.clock())

    assert len(house.requests.events) == 2
    assert len((await ledger_of(house.log)).leases) == 1
    house.settle.apply(2, house.requests.messages[1])
    await house.settle.tick(2, house.clock())
    assert await ledger_of(house.log) == Ledger(CREDIT - 3, {}, 2)


async def test_a_request_is_not_called_dead_within_the_grace_after_its_lease(house: SettlingHouse) -> None:
    await house.begin("r")
    house.clock.turn((LEASE_TERM + GRACE).total_seconds())

    await house.settled()

    assert len(house.requests.events) == 1
    assert len((await ledger_of(house.log)).leases) == 1


async def test_a_dead_workers_request_that_cost_nothing_is_ended_too(house: SettlingHouse) -> None:
    await house.begin("r", account=AccountId("poor"), amount=0)
    house.clock.turn(DEAD_AFTER_S)

    await house.settled()

    assert isinstance(house.requests.events[-1], RequestAbandoned)
    assert house.stored.open_requests == 0


async def test_a_lease_that_was_never_seen_ends_its_request_after_the_longest_term(house: SettlingHouse) -> None:
    await house.requests.append(admitted("r", "unseen"))
    house.clock.turn(LEASE_TERM_BOUND.total_seconds())
    await house.settled()
    assert len(house.requests.events) == 1

    house.clock.turn(1)
    await house.settled()

    assert isinstance(house.requests.events[-1], RequestAbandoned)
    assert await house.charges() == [3]


async def test_a_worker_thought_dead_that_ends_its_request_after_all_is_not_charged_twice(house: SettlingHouse) -> None:
    reservation = await house.begin("r")
    house.clock.turn(DEAD_AFTER_S)
    await house.settled()

    await house.end("r", reservation, 90)
    await house.settled()
    await house.settled(house.settlement())

    assert await house.charges() == [3]


async def test_a_lagging_view_of_the_leases_calls_no_living_request_dead(house: SettlingHouse) -> None:
    """This settlement was cut off and has not heard of the renewal yet; the ledger has."""
    stale = KnownLeases()
    house.log.followers = (house.live.apply, stale.apply)
    reservation = await house.begin("r")
    house.log.followers = (house.live.apply,)
    house.clock.turn(40)
    await house.leases.tend()
    house.clock.turn(35)

    await house.settled(house.settlement(stale))

    assert len(house.requests.events) == 1
    await house.end("r", reservation, 30)
    await house.settled(house.settlement(stale))
    assert await house.charges() == [30]
    assert reservation.lease_id in (await ledger_of(house.log)).leases


async def test_nobody_is_called_dead_while_the_leases_are_not_known(house: SettlingHouse) -> None:
    await house.begin("r")
    house.clock.turn(DEAD_AFTER_S)
    house.live.known = False

    await house.settled()

    assert len(house.requests.events) == 1


async def test_nobody_is_called_dead_before_all_that_stood_in_the_log_is_read(house: SettlingHouse) -> None:
    await house.end("r", await house.begin("r"), 30)
    house.clock.turn(DEAD_AFTER_S)

    house.settle.apply(1, house.requests.messages[0])
    await house.settle.tick(2, house.clock())

    assert len(house.requests.events) == 2
    assert len((await ledger_of(house.log)).leases) == 1


async def test_a_lease_is_not_freed_while_something_under_it_is_unpaid(house: SettlingHouse) -> None:
    """The end arrives after the lease's time; the charge comes first, then the rest is free."""
    await house.end("r", await house.begin("r"), 30)
    house.clock.turn(DEAD_AFTER_S)

    await house.settled()

    assert [type(fact).__name__ for fact in await ledger_events(house.log)][-2:] == ["UsageCharged", "LeaseExpired"]
    assert (await ledger_of(house.log)).available_nanos == CREDIT - 30


async def test_an_end_that_was_not_confirmed_is_found_and_not_written_twice_for_nothing(house: SettlingHouse) -> None:
    await house.begin("r")
    house.clock.turn(DEAD_AFTER_S)
    house.requests.silent = True
    with pytest.raises(OutcomeUnknown):
        await house.settled()

    house.requests.silent = False
    await house.settled()

    assert await house.charges() == [3]
    assert sum(isinstance(event, RequestAbandoned) for event in house.requests.events) == 1


async def test_losing_the_progress_store_costs_no_charge(house: SettlingHouse) -> None:
    house.progress.away = True
    await house.end("r", await house.begin("r"), 30)
    await house.settled()
    assert await house.charges() == [30]

    house.progress.away = False
    await house.settled(house.settlement())

    assert await house.charges() == [30]
    assert house.stored.settled_position == 2


async def test_the_next_owner_reads_from_the_oldest_open_request_on(house: SettlingHouse) -> None:
    reservations: Sequence[Reservation] = [await house.begin(f"r{number}") for number in range(3)]
    await house.end("r0", reservations[0], 10)
    await house.end("r2", reservations[2], 10)
    await house.settled()
    assert house.stored.resume_position == 1

    await house.end("r1", reservations[1], 5)
    heir = house.settlement()
    await house.settled(heir)

    assert await house.charges() == [20, 5]
    assert house.stored.resume_position == len(house.requests.messages)
