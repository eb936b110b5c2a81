"""Verifying the log: a sound one proves sound, and each way of breaking it is found where it was broken."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import msgspec
import pytest

import domain
from adapters.in_memory import InMemoryEventLog
from commands.store import Cause, EventStore
from domain.aggregate import Aggregate
from domain.archive_check import ArchiveCheck
from domain.events import Envelope
from domain.fact_check import AGGREGATES, FactCheck
from domain.findings import FINDINGS_KEPT, REMEDIES, Findings
from domain.ids import CommandId, LeaseId
from domain.ledger import LEDGER, CreditLeased, ModelUsage, UsageCharged, charge, lease
from domain.ports import LogMessage
from domain.request import RequestAdmitted, RequestEvent, abandoned
from domain.request_check import CHARGED_WITHIN, RequestCheck
from tests.money import ACCOUNT, AT, admitted, attempted, batch, cached, completed, give_credit

Corrupt = Callable[[dict[str, Any]], object]
REQUESTS: tuple[Sequence[RequestEvent], ...] = (
    [admitted("r1"), admitted("r2")],
    [completed("r1", 5)],
    [completed("r2", 7), admitted("r3")],
    [completed("r3", 0)],
)


async def ledger_log() -> list[LogMessage]:
    """An account gets 100, leases 50 to a worker, and pays 5 for REQ (0, 2] and 7 for REQ (2, 3]."""
    log = InMemoryEventLog()
    store = EventStore(log, "/tests")
    await give_credit(store, 100)
    leased = CreditLeased(account_id=ACCOUNT, at=AT, lease_id=LeaseId("l0"), worker="w", amount_nanos=50, expires_at=AT)
    await store.change(LEDGER, LEDGER.at(ACCOUNT), lambda ledger: lease(ledger, leased), _cause("lease"))
    for fact in (_charge(0, 2, 5), _charge(2, 3, 7)):
        await store.change(
            LEDGER, LEDGER.at(ACCOUNT), lambda ledger, fact=fact: charge(ledger, fact), _cause(f"to {fact.to_position}")
        )
    return [
        LogMessage("EVT", recorded.position, LEDGER.at(ACCOUNT).subject, AT, recorded.raw)
        for recorded in await log.history(LEDGER.at(ACCOUNT))
    ]


def _charge(start: int, end: int, amount_nanos: int) -> UsageCharged:
    return UsageCharged(
        account_id=ACCOUNT,
        at=AT,
        from_position=start,
        to_position=end,
        amount_nanos=amount_nanos,
        by_lease={LeaseId("l0"): amount_nanos},
        by_model={"m": ModelUsage(1, amount_nanos)},
    )


def _cause(command: str) -> Cause:
    return Cause(CommandId(command), AT, actor="test")


def request_log(batches: Sequence[Sequence[RequestEvent]] = REQUESTS) -> list[LogMessage]:
    messages: list[LogMessage] = []
    sequence = 1
    for position, facts in enumerate(batches, 1):
        messages.append(message(position, batch("/workers/w", sequence, *facts)))
        sequence += len(facts)
    return messages


def message(position: int, envelopes: Sequence[Envelope]) -> LogMessage:
    return LogMessage("REQ", position, "req.0", AT, msgspec.json.encode(envelopes))


def altered(log: list[LogMessage], position: int, corrupt: Corrupt) -> list[LogMessage]:
    """The log with one event changed after it was written."""
    event = msgspec.json.decode(log[position - 1].raw)
    corrupt(event)
    changed = msgspec.structs.replace(log[position - 1], raw=msgspec.json.encode(event))
    return [*log[: position - 1], changed, *log[position:]]


def verify(
    facts: Sequence[LogMessage], requests: Sequence[LogMessage] = (), *, later: timedelta = timedelta(0)
) -> tuple[list[tuple[str, str]], RequestCheck]:
    """Code and place of each finding."""
    findings = Findings()
    check = FactCheck(findings)
    for fact in facts:
        check.apply(fact)
    request_check = RequestCheck(check.charges, findings)
    if requests:
        for request in requests:
            request_check.apply(request)
        request_check.finish(AT + later)
        for request in requests if request_check.doubts else ():
            request_check.explain(request)
        request_check.conclude()
    return [(finding.code, finding.position) for finding in findings.kept], request_check


async def test_a_sound_log_has_no_findings() -> None:
    found, check = verify(await ledger_log(), request_log())

    assert found == []
    assert (check.admitted, check.ended, check.waiting.count, check.open_requests) == (3, 3, 0, 0)


def test_every_aggregate_of_the_domain_is_verified() -> None:
    modules = [import_module(f"domain.{module.name}") for module in iter_modules(domain.__path__)]
    found = {value.kind for module in modules for value in vars(module).values() if isinstance(value, Aggregate)}

    assert found == AGGREGATES.keys()


def _set(*path: str, to: object) -> Corrupt:
    def corrupt(event: dict[str, Any]) -> None:
        place = event
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return corrupt


@pytest.mark.parametrize(
    ("corrupt", "found"),
    [
        (_set("sequence", to=4), [("sequence_broken", "EVT:3"), ("sequence_broken", "EVT:4")]),
        (_set("prevhash", to="00"), [("chain_broken", "EVT:3")]),
        (_set("actor", to="somebody else"), []),
        (_set("subject", to="ledger/other"), [("wrong_subject", "EVT:3")]),
        (_set("type", to="ledger.imagined.v9"), [("unknown_fact", "EVT:3")]),
        (_set("data", "amount_nanos", to="five"), [("unreadable", "EVT:3")]),
        (_set("data", "after", "balance_nanos", to=96), [("state_differs", "EVT:3"), ("balance_differs", "EVT:4")]),
        (_set("data", "after", "leases", to={}), [("state_differs", "EVT:3"), ("state_differs", "EVT:4")]),
        (_set("data", "balance_after_nanos", to=96), [("balance_differs", "EVT:3"), ("state_differs", "EVT:3")]),
        (_set("data", "from_position", to=1), [("charge_range", "EVT:3")]),
        (_set("data", "by_lease", to={"l0": 4}), [("charge_split", "EVT:3"), ("state_differs", "EVT:3")]),
    ],
)
async def test_a_changed_fact_is_found_and_breaks_the_chain_behind_it(
    corrupt: Corrupt, found: list[tuple[str, str]]
) -> None:
    seen, _ = verify(altered(await ledger_log(), 3, corrupt))

    assert ("chain_broken", "EVT:4") in seen
    assert [finding for finding in seen if finding != ("chain_broken", "EVT:4")] == found


async def test_a_lost_fact_is_found_by_place_number_and_chain() -> None:
    log = await ledger_log()

    found, _ = verify([*log[:2], *log[3:]])

    assert {("position_missing", "EVT:4"), ("sequence_broken", "EVT:4"), ("chain_broken", "EVT:4")} < set(found)


async def test_a_fact_that_is_no_json_is_found_and_reading_goes_on() -> None:
    log = await ledger_log()
    log[2] = msgspec.structs.replace(log[2], raw=b"{")

    found, _ = verify(log)

    assert found == [("unreadable", "EVT:3"), ("chain_broken", "EVT:4")]


async def test_a_fact_under_a_subject_of_another_kind_is_found() -> None:
    log = await ledger_log()
    log[3] = msgspec.structs.replace(log[3], subject="evt.1.user.acc")

    assert ("state_differs", "EVT:4") in verify(log)[0]


async def test_a_charge_that_is_not_what_its_requests_cost_is_found() -> None:
    requests = request_log([REQUESTS[0], [completed("r1", 6)], *REQUESTS[2:]])

    assert verify(await ledger_log(), requests)[0] == [("charge_differs", "EVT:3")]


async def test_a_request_that_ended_is_charged_in_time() -> None:
    requests = request_log([*REQUESTS, [admitted("r4")], [completed("r4", 9)]])

    at_once, check = verify(await ledger_log(), requests)
    later, _ = verify(await ledger_log(), requests, later=CHARGED_WITHIN + timedelta(seconds=1))

    assert (at_once, check.waiting.count, check.waiting.cost_nanos) == ([], 1, 9)
    assert later == [("uncharged", "REQ:6")]


async def test_a_message_that_a_retry_wrote_again_is_harmless() -> None:
    log = request_log()
    again = [*log[:2], msgspec.structs.replace(log[1], position=3)]
    rest = [msgspec.structs.replace(late, position=late.position + 1) for late in log[2:]]

    _, check = verify([], [*again, *rest])

    assert (check.duplicates, check.ended) == (1, 3)


@pytest.mark.parametrize(
    ("batches", "found"),
    [
        ([(1, [admitted("r1")]), (3, [completed("r1", 0)])], [("writer_gap", "REQ:2")]),
        ([(1, [admitted("r1")]), (1, [admitted("r2")])], [("writer_conflict", "REQ:2")]),
        ([(1, [completed("r1", 0)])], [("end_without_admission", "REQ:1")]),
        ([(1, [completed("r1", 0)]), (2, [admitted("r1")])], [("end_without_admission", "REQ:1")]),
        ([(1, [admitted("r1"), completed("r1", 0), admitted("r1")])], [("admitted_twice", "REQ:1")]),
        ([(1, [admitted("r1")]), (2, [cached("r1")])], [("admitted_twice", "REQ:2")]),
        ([(1, [cached("r1")]), (2, [admitted("r1")])], [("admitted_twice", "REQ:2")]),
        ([(1, [cached("r1"), cached("r1")])], [("admitted_twice", "REQ:1")]),
    ],
)
def test_what_writers_cannot_have_written_is_found(
    batches: list[tuple[int, list[RequestEvent]]], found: list[tuple[str, str]]
) -> None:
    log = [
        message(position, batch("/workers/w", *(first, *facts))) for position, (first, facts) in enumerate(batches, 1)
    ]  # type: ignore[arg-type]

    assert verify([], log)[0] == found


AFTER_TWO = msgspec.structs.replace(completed("r1", 0), attempts=3, deployment="d3")


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ([attempted("r1", 1), attempted("r1", 2), AFTER_TWO], []),
        ([attempted("r1", 1), attempted("r1", 2), msgspec.structs.replace(AFTER_TWO, attempts=2)], []),
        ([attempted("r1", 1), attempted("r1", 2), abandoned(admitted("r1"), AT)], []),
        ([attempted("r1", 2), AFTER_TWO], ["attempt_gap"]),
        ([attempted("r1", 1), AFTER_TWO], ["attempt_gap"]),
        ([attempted("r1", 1), AFTER_TWO, attempted("r1", 2)], ["attempt_gap"]),
        ([attempted("r1", 1), attempted("r1", 2), completed("r1", 0)], ["attempt_gap"]),
    ],
)
def test_attempts_are_numbered_without_a_gap_before_their_end(facts: list[RequestEvent], found: list[str]) -> None:
    assert [code for code, _ in verify([], request_log([[admitted("r1")], facts]))[0]] == found


def test_a_second_end_is_void_and_no_mistake() -> None:
    first = admitted("r1")
    assert isinstance(first, RequestAdmitted)

    found, check = verify([], request_log([[first], [abandoned(first, AT)], [completed("r1", 0)]]))

    assert ([code for code, _ in found], check.void_ends, check.ended) == ([], 1, 1)


def test_an_answer_from_the_cache_is_admission_and_end_and_a_second_end_is_void() -> None:
    found, check = verify([], request_log([[cached("r1")], [completed("r1", 0)], [abandoned(admitted("r1"), AT)]]))

    assert (found, check.admitted, check.ended, check.open_requests) == ([], 1, 1, 0)
    assert check.void_ends == 1


async def test_an_answer_from_the_cache_is_part_of_its_charge() -> None:
    requests = request_log([*REQUESTS[:2], [cached("hit", 7)]])

    assert verify(await ledger_log(), requests)[0] == []
    assert verify(await ledger_log(), request_log([*REQUESTS[:2], [cached("hit", 8)]]))[0] == [
        ("charge_differs", "EVT:4")
    ]


def test_an_answer_from_the_cache_is_no_end_of_what_was_admitted_before() -> None:
    _, check = verify([], request_log([[admitted("r1")], [cached("r1", 7)]]))

    assert (check.open_requests, check.ended, check.waiting.count) == (1, 0, 0)


def test_unreadable_requests_are_found_and_reading_goes_on() -> None:
    log = request_log([[admitted("r1")], [completed("r1", 0)]])
    spoiled = altered(log, 1, lambda events: events[0].update(type="request.imagined.v9"))  # type: ignore[call-overload]
    broken = [LogMessage("REQ", 1, "req.0", AT, b"["), log[1]]

    assert verify([], spoiled)[0] == [("unknown_fact", "REQ:1"), ("end_without_admission", "REQ:2")]
    assert verify([], broken)[0] == [
        *[("unreadable", "REQ:1"), ("writer_gap", "REQ:2"), ("end_without_admission", "REQ:2")]
    ]


def compared(messages: list[LogMessage], archived: dict[int, tuple[str, bytes]], archived_to: int) -> list[str]:
    findings = Findings()
    check = ArchiveCheck("REQ", archived_to, len(messages), findings)
    check.compare(messages, archived)
    return [f"{finding.code} {finding.position}" for finding in findings.kept]


def test_the_archive_may_be_behind_but_not_different() -> None:
    log = request_log()
    archive = {message.position: (message.subject, message.raw) for message in log}

    assert compared(log, archive, 4) == []
    assert compared(log, {1: archive[1]}, 1) == []
    assert compared(log, {**archive, 2: ("req.0", b"[]")}, 4) == ["archive_differs REQ:2"]
    assert compared(log, {1: archive[1], 3: archive[3], 4: archive[4]}, 4) == ["archive_missing REQ:2"]
    assert compared([log[0], log[2], log[3]], archive, 3) == ["archive_only REQ:2"]
    assert compared(log[:2], {1: archive[1], 2: archive[2]}, 4) == ["archive_only REQ:3"]


def test_a_log_that_is_broken_everywhere_fits_in_memory() -> None:
    findings = Findings()
    for position in range(2 * FINDINGS_KEPT):
        findings.add("unreadable", "REQ", position, "broken")

    assert (len(findings.kept), findings.total) == (FINDINGS_KEPT, 2 * FINDINGS_KEPT)
    assert all(REMEDIES.values())
