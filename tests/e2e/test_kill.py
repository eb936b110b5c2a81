"""Every part of the running program is killed under load. Afterwards the log alone must explain every charge.

The oracle is the provider: it writes a line for each request before it answers. The requests that the gateway lost
are found by their leases, whose term is short here so that nobody waits for a minute.
"""

import asyncio
import hashlib
from collections import Counter, defaultdict
from typing import Any

import msgspec
import pytest

from domain.events import decode_envelope, decode_fact
from domain.ledger import LEDGER, CreditGranted, Ledger, UsageCharged, evolve
from domain.request import ABANDONED_POLICY, RequestAbandoned, RequestCompleted, RequestFailed
from tests.e2e.conftest import REPORT
from tests.e2e.running import Program
from tests.e2e.storm import Evidence, gather_evidence

STATUS: dict[type[Any], str] = {
    RequestCompleted: "completed",
    RequestFailed: "failed",
    RequestAbandoned: "abandoned",
}


@pytest.fixture(scope="module")
def environ() -> dict[str, str]:
    return {"AGG_LEASE_TERM": "6s"}


@pytest.fixture(scope="module")
def after(program: Program, pytestconfig: pytest.Config) -> Evidence:
    """What the storm left."""
    evidence = asyncio.run(gather_evidence(program))
    counts = ", ".join(f"{name} {count}" for name, count in evidence.counts().items())
    pytestconfig.stash[REPORT].append(f"kill test: {counts}")
    return evidence


def charges(evidence: Evidence) -> list[UsageCharged]:
    facts = [decode_fact(envelope) for _, envelope, _ in evidence.ledger()]
    return [fact for fact in facts if isinstance(fact, UsageCharged)]


def test_the_storm_was_one(after: Evidence) -> None:
    """Otherwise the rest proves nothing."""
    counts = after.counts()

    assert counts["kills"] == 8
    assert counts["answered whole"] > 500
    assert counts["hung up"] > 10
    assert counts["no answer"] + counts["200 but cut"] > 50
    assert counts["abandoned"] > 16


def test_no_request_is_served_twice(after: Evidence) -> None:
    assert [ident for ident, times in Counter(after.served).items() if times > 1] == []


def test_every_served_request_was_admitted_once_and_has_an_end(after: Evidence) -> None:
    admissions, ends = after.requests.admissions, after.requests.ends

    assert set(after.served) <= admissions.keys()
    assert {ident for ident, admitted in admissions.items() if len(admitted) != 1} == set()
    assert admissions.keys() == ends.keys()


def test_what_never_began_was_not_served_and_costs_nothing(after: Evidence) -> None:
    ends = after.requests.never_begun

    assert {end.request_id for end in ends} & set(after.served) == set()
    assert [end for end in ends if end.cost_nanos] == []


def test_nothing_is_completed_that_was_not_served(after: Evidence) -> None:
    completed = {ident for ident, end in after.requests.ends.items() if isinstance(end.fact, RequestCompleted)}

    assert completed - set(after.served) == set()


def test_an_answered_request_costs_what_its_answer_said(after: Evidence) -> None:
    told = {answer.request_id: answer.cost_nanos for answer in after.answers if answer.whole}
    charged = {ident: after.requests.ends[ident].fact.cost_nanos for ident in told}  # type: ignore[index]

    assert len(told) == after.counts()["answered whole"]
    assert charged == told


def test_a_client_that_hung_up_pays_what_the_provider_reports(after: Evidence) -> None:
    hung_up = [after.requests.ends[answer.request_id].fact for answer in after.answers if answer.hung_up]  # type: ignore[index]
    completed = [end for end in hung_up if isinstance(end, RequestCompleted)]

    assert {end.evidence for end in completed} == {"reported"}
    assert any(end.client_gone for end in completed)


def test_what_ran_when_the_api_was_killed_is_charged_its_input_and_its_client_knows_of_no_end(after: Evidence) -> None:
    ends = [after.requests.ends[ident].fact for ident in after.doomed]

    assert len(ends) == 16
    assert not any(answer.whole for answer in after.doomed_answers)
    assert sum(answer.status == 200 for answer in after.doomed_answers) == 8
    for end in ends:
        assert isinstance(end, RequestAbandoned)
        (admitted,) = after.requests.admissions[end.request_id]
        assert (end.cost_nanos, end.evidence, end.policy) == (
            admitted.input_estimate_nanos,
            "estimated",
            ABANDONED_POLICY,
        )


def test_every_end_is_in_exactly_one_charge(after: Evidence) -> None:
    """Charges join without gap or overlap, and each is the sum of the ends within it, by model and by lease."""
    settled_to = 0
    for charge in charges(after):
        assert charge.from_position == settled_to
        settled_to = charge.to_position
        within = [end.fact for end in after.requests.ends.values() if charge.from_position < end.position <= settled_to]
        by_lease: dict[str, int] = defaultdict(int)
        for end in within:
            by_lease[end.lease_id] += end.cost_nanos
        assert charge.amount_nanos == sum(end.cost_nanos for end in within)
        assert charge.by_lease == by_lease
        assert {model: usage.requests for model, usage in charge.by_model.items()} == Counter(
            end.model for end in within
        )
    assert [end for end in after.requests.ends.values() if end.position > settled_to and end.fact.cost_nanos] == []


def test_charges_balance_and_ledger_agree_to_the_nano(after: Evidence) -> None:
    facts = [decode_fact(envelope) for _, envelope, _ in after.ledger()]
    granted = sum(fact.amount_nanos for fact in facts if isinstance(fact, CreditGranted))
    cost = sum(end.fact.cost_nanos for end in after.requests.ends.values())

    assert sum(charge.amount_nanos for charge in charges(after)) == cost
    assert LEDGER.fold(facts).balance_nanos == granted - cost
    assert after.balance["balance_nanos"] == granted - cost
    assert after.balance["available_nanos"] == granted - cost


def test_no_worker_ever_held_more_than_there_was(after: Evidence) -> None:
    ledger = Ledger()
    for _, envelope, _ in after.ledger():
        ledger = evolve(ledger, decode_fact(envelope))
        carried = msgspec.json.decode(envelope.data, type=dict[str, msgspec.Raw])["after"]
        assert ledger.available_nanos >= 0
        assert msgspec.json.decode(carried, type=Ledger) == ledger


def test_no_lease_is_left_open(after: Evidence) -> None:
    assert LEDGER.fold(decode_fact(envelope) for _, envelope, _ in after.ledger()).leases == {}


def test_every_history_is_an_unbroken_chain(after: Evidence) -> None:
    last: dict[str, tuple[int, str]] = {}
    for _, subject, raw in after.facts:
        envelope = decode_envelope(raw)
        number, digest = last.get(subject, (0, ""))
        assert (envelope.sequence, envelope.prevhash) == (number + 1, digest), subject
        last[subject] = envelope.sequence, hashlib.sha256(raw).hexdigest()


def test_the_read_models_tell_what_the_log_tells(after: Evidence) -> None:
    ends = [end.fact for end in after.requests.ends.values()]
    used: Counter[str] = Counter()
    for end in ends:
        used.update(msgspec.structs.asdict(end.tokens))

    assert after.rows == {end.request_id: (STATUS[type(end)], end.cost_nanos) for end in ends}
    assert after.usage["requests"] == len(ends)
    assert after.usage["failed"] == sum(not isinstance(end, RequestCompleted) for end in ends)
    assert after.usage["cost_nanos"] == sum(end.cost_nanos for end in ends)
    assert after.usage["tokens"] == dict(used)
