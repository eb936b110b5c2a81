"""The settlement fold: the first end of a request is its only one, however often and in whatever pieces it is read."""

import asyncio
from collections.abc import Sequence
from itertools import count, pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.store import Cause, EventStore
from domain.events import Envelope, UnknownFact
from domain.ids import AccountId, CommandId, LeaseId
from domain.ledger import LEDGER, Ledger, LedgerEvent, ModelUsage, UsageCharged, charge
from domain.pricing import Tokens
from domain.request import RequestAdmitted, RequestCached, RequestEnd, RequestEvent, abandoned
from domain.settlement import Line, Settlement
from tests.money import (
    ACCOUNT,
    AT,
    RacingLog,
    admitted,
    attempted,
    batch,
    cached,
    completed,
    give_credit,
    ledger_events,
    ledger_of,
)

ACCOUNTS = (AccountId("a"), AccountId("b"))
Message = list[Envelope]


def read(messages: Sequence[Message], settlement: Settlement | None = None) -> Settlement:
    """Message `i` stands at position `i + 1`; what the settlement has read already is passed over."""
    settlement = settlement or Settlement()
    for position, message in enumerate(messages, 1):
        if position > settlement.position:
            settlement.apply(position, message)
    return settlement


def one_by_one(*facts: RequestEvent) -> list[Message]:
    return [batch("w", sequence, fact) for sequence, fact in enumerate(facts, 1)]


def costs(settlement: Settlement) -> dict[AccountId, list[int]]:
    return {account: [line.cost_nanos for line in lines] for account, lines in settlement.due.items()}


def test_an_admitted_request_is_open_until_its_end() -> None:
    messages = one_by_one(admitted("r"), completed("r", 5))

    assert list(read(messages[:1]).open) == ["r"]
    after = read(messages)
    assert not after.open
    assert after.due == {ACCOUNT: [Line(2, 1, LeaseId("l0"), "m", 5, Tokens())]}


def test_the_first_end_in_the_log_counts_and_a_later_one_is_void() -> None:
    start = admitted("r")

    assert costs(read(one_by_one(start, completed("r", 5), abandoned(start, AT)))) == {ACCOUNT: [5]}
    assert costs(read(one_by_one(start, abandoned(start, AT), completed("r", 5)))) == {ACCOUNT: [3]}


def test_attempts_are_charged_to_nobody() -> None:
    messages = one_by_one(admitted("r"), attempted("r", 1), attempted("r", 2), completed("r", 5), attempted("r", 3))

    assert costs(read(messages)) == {ACCOUNT: [5]}
    assert not read(messages).open


def test_an_end_without_an_admission_is_void() -> None:
    assert costs(read(one_by_one(completed("r", 5)))) == {}


def test_an_event_that_a_retry_wrote_again_counts_once() -> None:
    begin, end = one_by_one(admitted("r"), completed("r", 5))

    assert costs(read([begin, begin, end, begin, end])) == {ACCOUNT: [5]}
    assert not read([begin, begin, end, begin]).open


def test_a_fact_of_a_newer_release_stops_settlement_rather_than_being_skipped() -> None:
    (unknown,) = (msgspec.structs.replace(each, type="request.rerouted.v1") for each in batch("w", 1, admitted("r")))

    with pytest.raises(UnknownFact):
        read([[unknown]])


def test_an_answer_from_the_cache_is_admitted_and_ended_at_once() -> None:
    after = read(one_by_one(admitted("a"), completed("a", 0), cached("r", 5, "l1")))

    assert not after.open
    assert after.due[ACCOUNT][1:] == [Line(3, 3, LeaseId("l1"), "m", 5, Tokens())]
    assert after.holds(ACCOUNT, LeaseId("l1"))
    assert after.propose(ACCOUNT, Ledger(), AT) == UsageCharged(
        account_id=ACCOUNT,
        at=AT,
        from_position=0,
        to_position=3,
        amount_nanos=5,
        by_lease={LeaseId("l0"): 0, LeaseId("l1"): 5},
        by_model={"m": ModelUsage(2, 5)},
    )


def test_a_free_answer_from_the_cache_leaves_nothing_to_settle() -> None:
    after = read(one_by_one(cached("r")))

    assert (after.open, after.due, after.settled_position, after.resume_position) == ({}, {}, 1, 1)


def test_an_unpaid_answer_from_the_cache_is_read_again_by_the_next_owner() -> None:
    settlement = read(one_by_one(cached("r"), cached("s", 5, "l1")))

    assert (settlement.settled_position, settlement.resume_position) == (1, 1)
    settlement.forget(ACCOUNT, 2)
    assert (settlement.settled_position, settlement.resume_position) == (2, 2)


START = admitted("r")


@pytest.mark.parametrize(
    ("facts", "owed", "is_open"),
    [
        ([cached("r", 7), cached("r", 8)], 7, False),
        ([cached("r", 7), START, completed("r", 5)], 7, False),
        ([cached("r"), START, completed("r", 5)], 0, False),
        ([cached("r", 7), completed("r", 5), abandoned(START, AT)], 7, False),
        ([START, cached("r", 7)], 0, True),
        ([START, cached("r", 7), completed("r", 5), cached("r", 8)], 5, False),
        ([START, abandoned(START, AT), cached("r", 7)], 3, False),
        ([completed("r", 5), cached("r", 7)], 7, False),
    ],
)
def test_whichever_comes_first_of_an_answer_from_the_cache_and_another_life_of_its_request_counts(
    facts: list[RequestEvent], owed: int, *, is_open: bool
) -> None:
    after = read(one_by_one(*facts))

    assert sum(costs(after).get(ACCOUNT, [])) == owed
    assert bool(after.open) == is_open


@given(
    st.lists(
        st.tuples(st.sampled_from(["admitted", "completed", "cached"]), st.sampled_from("rst"), st.integers(0, 9)),
        max_size=20,
    ),
    st.data(),
)
def test_in_whatever_order_and_how_often_its_events_come_a_request_is_charged_once_at_most(
    kinds: list[tuple[str, str, int]], data: st.DataObject
) -> None:
    """By another machine: an admission, or an answer from the cache, is the beginning that counts if it is the first,
    and the first end after it is the end."""
    facts: list[RequestEvent] = []
    charged: dict[str, int | None] = {}
    for kind, name, cost in kinds:
        fact: RequestEvent = admitted(name)
        if kind != "admitted":
            fact = completed(name, cost) if kind == "completed" else cached(name, cost)
        facts.append(fact)
        begins, ends = isinstance(fact, RequestAdmitted | RequestCached), isinstance(fact, RequestEnd)
        if name not in charged and begins:
            charged[name] = cost if ends else None
        elif charged.get(name, 0) is None and ends and not begins:
            charged[name] = cost
    messages = one_by_one(*facts)
    for message in data.draw(st.lists(st.sampled_from(messages), max_size=5)) if messages else ():
        messages.insert(data.draw(st.integers(messages.index(message) + 1, len(messages))), message)

    after = read(messages)

    assert sum(costs(after).get(ACCOUNT, [])) == sum(cost or 0 for cost in charged.values())
    assert sorted(after.open) == sorted(name for name, cost in charged.items() if cost is None)


def test_of_what_has_ended_only_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.settlement.ENDED_KEPT", 2)
    messages = one_by_one(*(cached(name) for name in "abc"), *(admitted(name) for name in "abc"))

    assert list(read(messages).open) == ["a"]


def test_a_proposal_sums_what_the_ledger_has_not_settled() -> None:
    settlement = read([batch("w", 1, *(admitted(name) for name in "abc")), batch("w", 4, completed("a", 5, "l1"))])
    settlement = read([[], [], batch("w", 5, completed("b", 7, "l1"), completed("c", 1, "l2"))], settlement)

    assert settlement.propose(ACCOUNT, Ledger(settled_to=2), AT) == UsageCharged(
        account_id=ACCOUNT,
        at=AT,
        from_position=2,
        to_position=3,
        amount_nanos=8,
        by_lease={LeaseId("l1"): 7, LeaseId("l2"): 1},
        by_model={"m": ModelUsage(2, 8)},
    )
    assert settlement.propose(ACCOUNT, Ledger(settled_to=3), AT) is None


def test_what_costs_nothing_alone_is_not_proposed() -> None:
    assert read(one_by_one(admitted("r"), completed("r", 0))).propose(ACCOUNT, Ledger(), AT) is None


def test_what_is_unpaid_or_open_holds_its_lease() -> None:
    settlement = read(one_by_one(admitted("r", "l1"), admitted("s", "l2"), completed("s", 5, "l2")))

    assert [settlement.holds(ACCOUNT, LeaseId(lease)) for lease in ("l1", "l2", "l3")] == [True, True, False]
    settlement.forget(ACCOUNT, 3)
    assert not settlement.holds(ACCOUNT, LeaseId("l2"))


def test_positions_wait_for_what_is_unpaid_and_for_what_is_open() -> None:
    settlement = read(one_by_one(admitted("r"), admitted("s"), completed("s", 5)))
    assert (settlement.settled_position, settlement.resume_position) == (2, 0)

    settlement.forget(ACCOUNT, 3)
    assert (settlement.settled_position, settlement.resume_position) == (3, 0)

    settlement.apply(4, batch("w", 4, completed("r", 0)))
    settlement.forget(ACCOUNT, 4)
    assert (settlement.settled_position, settlement.resume_position) == (4, 4)


class Step(msgspec.Struct):
    """A worker admits a request, answers one from the cache, or ends any that it ever admitted; then it sends what
    waits, or repeats a message."""

    source: str
    admits: bool
    hits: bool
    which: int
    cost: int
    account: AccountId
    sends: bool
    repeats: bool


STEPS = st.lists(
    st.builds(
        Step,
        source=st.sampled_from(["w1", "w2", "w3"]),
        admits=st.booleans(),
        hits=st.booleans(),
        which=st.integers(0, 5),
        cost=st.integers(0, 9),
        account=st.sampled_from(ACCOUNTS),
        sends=st.booleans(),
        repeats=st.booleans(),
    ),
    max_size=25,
)


def log_of(steps: list[Step]) -> list[Message]:
    """Some workers' requests in batches, some of them stored twice; ends may be void, for another was first."""
    messages: list[Message] = []
    starts: dict[str, list[RequestAdmitted]] = {}
    hits = count(1)
    waiting: dict[str, list[RequestEvent]] = {}
    sent: dict[str, int] = {}
    for step in steps:
        known, queue = starts.setdefault(step.source, []), waiting.setdefault(step.source, [])
        if step.hits:
            queue.append(cached(f"{step.source}-hit-{next(hits)}", step.cost, step.source, step.account))
        elif step.admits or not known:
            known.append(admitted(f"{step.source}-{len(known)}", lease=step.source, account=step.account))
            queue.append(known[-1])
        else:
            start = known[-1 - step.which % len(known)]
            queue.append(completed(start.request_id, step.cost, step.source, start.account_id))
        if step.sends:
            first = sent.get(step.source, 0) + 1
            messages.append(batch(step.source, first, *queue))
            sent[step.source] = first + len(queue) - 1
            queue.clear()
        elif step.repeats and messages:
            messages.append(messages[-1 - step.which % len(messages)])
    return messages


request_logs = STEPS.map(log_of)


def first_ends(messages: Sequence[Message]) -> dict[AccountId, int]:
    """What each account owes by the plain rule: an admitted request costs what its first end says, and an answer from
    the cache is admitted by itself."""
    known: set[str] = set()
    ended: dict[str, tuple[AccountId, int]] = {}
    for envelope in (envelope for message in messages for envelope in message):
        fact = msgspec.json.decode(envelope.data, type=RequestEvent)
        if isinstance(fact, RequestAdmitted | RequestCached):
            known.add(fact.request_id)
        if isinstance(fact, RequestEnd) and fact.request_id in known:
            ended.setdefault(fact.request_id, (fact.account_id, fact.cost_nanos))
    return {account: sum(cost for owner, cost in ended.values() if owner == account) for account in ACCOUNTS}


@given(request_logs)
def test_every_account_owes_the_first_end_of_each_of_its_requests(messages: list[Message]) -> None:
    due = read(messages).due

    assert {account: sum(line.cost_nanos for line in due.get(account, ())) for account in ACCOUNTS} == first_ends(
        messages
    )


@given(request_logs, st.data())
def test_in_whatever_pieces_the_events_are_stored_they_come_to_the_same(
    messages: list[Message], data: st.DataObject
) -> None:
    whole = read(messages)
    pieces: list[Message] = []
    for message in messages:
        cut = data.draw(st.integers(0, len(message)))
        pieces += [part for part in (message[:cut], message[cut:]) if part]

    cut_up = read(pieces)

    assert costs(cut_up) == costs(whole)
    assert cut_up.open.keys() == whole.open.keys()


@given(request_logs, st.data())
def test_the_next_owner_goes_on_as_the_last_one_would_have(messages: list[Message], data: st.DataObject) -> None:
    """At any moment, with any part of the accounts charged."""
    owner, settled = Settlement(), dict.fromkeys(ACCOUNTS, 0)
    saved, writers = 0, owner.resumable_writers(0)
    for position, message in enumerate(messages, 1):
        owner.apply(position, message)
        for account in data.draw(st.lists(st.sampled_from(ACCOUNTS), unique=True)):
            settled[account] = position
            owner.forget(account, position)
        if data.draw(st.booleans()):
            assert owner.resume_position >= saved
            saved = owner.resume_position
            writers = owner.resumable_writers(saved)
        heir = read(messages[:position], Settlement(saved, writers))
        for account in ACCOUNTS:
            heir.forget(account, settled[account])
        assert (heir.open, heir.due) == (owner.open, owner.due)


def test_what_was_saved_does_not_change_when_the_owner_reads_on() -> None:
    settlement = read([batch("w", 1, admitted("r"), completed("r", 0))])
    settlement.forget(ACCOUNT, 1)
    saved = settlement.resumable_writers(1)

    settlement.apply(2, batch("w", 3, admitted("s"), completed("s", 0)))
    settlement.resumable_writers(2)

    assert saved == {"w": 2}


@given(request_logs, st.lists(st.integers(0, 100), min_size=2, max_size=6))
@settings(max_examples=60)
def test_several_owners_at_different_places_charge_every_first_end_exactly_once(
    messages: list[Message], places: list[int]
) -> None:
    asyncio.run(_charge_from_many_places(messages, places))


async def _charge_from_many_places(messages: list[Message], places: list[int]) -> None:
    log = RacingLog()
    for account in ACCOUNTS:
        await give_credit(EventStore(log, "/tests"), 1000, account)

    await asyncio.gather(*(_own(log, messages, name, place) for name, place in enumerate([*places, len(messages)])))

    for account, owed in first_ends(messages).items():
        charges = [fact for fact in await ledger_events(log, account) if isinstance(fact, UsageCharged)]
        assert sum(fact.amount_nanos for fact in charges) == owed
        assert (await ledger_of(log, account)).balance_nanos == 1000 - owed
        ranges = [(fact.from_position, fact.to_position) for fact in charges]
        assert all(before[1] == after[0] for before, after in pairwise(ranges))


async def _own(log: RacingLog, messages: list[Message], name: int, place: int) -> None:
    """Reads to some place in the log and charges whatever it finds, as if nobody else did."""
    store = EventStore(log, f"/owners/{name}")
    settlement = read(messages[:place])
    for account in list(settlement.due):

        def decide(ledger: Ledger, account: AccountId = account) -> list[LedgerEvent]:
            proposed = settlement.propose(account, ledger, AT)
            return charge(ledger, proposed) if proposed else []

        cause = Cause(CommandId(f"{name}-{account}"), AT, actor="settlement")
        await store.change(LEDGER, LEDGER.at(account), decide, cause)
        settlement.forget(account, settlement.position)
