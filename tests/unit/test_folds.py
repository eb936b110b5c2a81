"""Facts to rows. Folding is pure, so a history may be cut into batches anywhere."""

from itertools import pairwise
from operator import add

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from domain.request import RequestAdmitted, RequestCached, RequestFailed, abandoned
from projections import balances, catalogue, directory, ledger_entries, logins, requests, usage
from projections.balances import BALANCES
from projections.catalogue import CATALOGUE
from projections.directory import DIRECTORY
from projections.ledger_entries import LEDGER_ENTRIES
from projections.logins import LOGINS
from projections.projection import Event
from projections.requests import ADMISSION, ANSWERED, ATTEMPT, END, REQUESTS, RequestRows
from projections.usage import COUNTERS, USAGE, UsageRows
from tests import money
from tests.declaring import declared_story
from tests.histories import (
    ACCOUNTS,
    NOON,
    Story,
    events_of,
    everyday_story,
    facts_in,
    request_message,
    request_messages,
)
from tests.money import attempted, cached, completed
from tests.unit.test_intake import some_requests

EVENTS: list[Event] = events_of(USAGE, request_messages(600))


def merged_usage(parts: list[UsageRows]) -> UsageRows:
    """What the table holds after writing each part."""
    table: UsageRows = {}
    for part in parts:
        for hour, counters in part.items():
            for dimensions, counts in counters.items():
                before = table.setdefault(hour, {}).get(dimensions, usage.NOTHING)
                table[hour][dimensions] = tuple(map(add, before, counts))
    return table


def merged_requests(parts: list[RequestRows]) -> dict[str, tuple[object, ...]]:
    table: dict[str, tuple[object, ...]] = {}
    for part in parts:
        assert not table.keys() & part.admitted.keys()
        table.update(part.admitted)
        for ident, end in part.ended.items():
            row = dict(zip((*ADMISSION, *END), table[ident], strict=True))
            table[ident] = tuple((row | dict(zip((*END, *ANSWERED), end, strict=True))).values())
    return table


def cut(cuts: list[int]) -> list[list[Event]]:
    bounds = sorted({0, *cuts, len(EVENTS)})
    return [EVENTS[start:end] for start, end in pairwise(bounds)]


@given(st.lists(st.integers(0, len(EVENTS)), max_size=12))
def test_usage_is_the_same_however_the_history_is_cut(cuts: list[int]) -> None:
    assert merged_usage([usage.fold(part) for part in cut(cuts)]) == usage.fold(EVENTS)


@given(st.lists(st.integers(0, len(EVENTS)), max_size=12))
def test_requests_are_the_same_however_the_history_is_cut(cuts: list[int]) -> None:
    whole = requests.fold(EVENTS)

    assert not whole.ended
    assert merged_requests([requests.fold(part) for part in cut(cuts)]) == whole.admitted


def test_usage_counts_each_end_once_with_its_tokens_and_cost() -> None:
    ends = [event.fact for event in EVENTS if not isinstance(event.fact, RequestAdmitted)]
    counted = [counts for hour in usage.fold(EVENTS).values() for counts in hour.values()]
    totals = dict(zip(COUNTERS, map(sum, zip(*counted, strict=True)), strict=True))

    assert any(isinstance(end, RequestCached) for end in ends)
    assert totals["requests"] == len(ends)
    assert totals["failed"] == sum(isinstance(end, RequestFailed) for end in ends)
    assert totals["output"] == sum(end.tokens.output for end in ends)
    assert totals["cost_nanos"] == sum(end.cost_nanos for end in ends)


def test_usage_belongs_to_the_hour_in_which_a_request_ended() -> None:
    ((admitted, _),) = some_requests(1)
    end = abandoned(admitted, NOON.replace(hour=14, minute=59, second=59))
    rows = usage.fold(facts_in(request_message(1, [end])))

    assert list(rows) == [NOON.replace(hour=14)]
    assert list(rows[NOON.replace(hour=14)]) == [
        (admitted.account_id, admitted.key_id or "", admitted.model, admitted.provider)
    ]


def test_an_open_request_is_a_row_without_an_end() -> None:
    ((admitted, _),) = some_requests(1)
    row = dict(
        zip(
            (*ADMISSION, *END),
            requests.fold(facts_in(request_message(4, [admitted]))).admitted[admitted.request_id],
            strict=True,
        )
    )

    assert (row["status"], row["admitted_position"], row["cost_nanos"]) == ("open", 4, None)


def test_attempts_are_rows_of_their_own_and_void_once_the_request_has_ended() -> None:
    first, late = attempted("r", 1), attempted("r", 2)
    end = msgspec.structs.replace(completed("r", 5), attempts=2, deployment="d2")
    events = events_of(REQUESTS, [request_message(3, [money.admitted("r"), first, end, late])])
    rows = requests.fold(events)

    (row,) = [dict(zip(ATTEMPT, attempt, strict=True)) for attempt in rows.attempts]
    assert (row["number"], row["position"], row["deployment"], row["upstream_status"]) == (1, 3, "d1", 529)
    ended = dict(zip((*ADMISSION, *END), rows.admitted["r"], strict=True))
    assert (ended["attempts"], ended["deployment"], ended["route"], ended["choice"]) == (2, "d2", None, None)
    assert usage.fold([event for event in events if event.fact is not first])
    assert len(events_of(USAGE, [request_message(3, [money.admitted("r"), first, end, late])])) == 2


def test_an_answer_from_the_cache_is_one_whole_row() -> None:
    hit = msgspec.structs.replace(cached("r", 5, "l1"), route="fast", similarity=0.97, upstream_model="m-1")
    rows = requests.fold(events_of(REQUESTS, [request_message(4, [hit])]))
    row = dict(zip((*ADMISSION, *END), rows.admitted["r"], strict=True))

    assert not rows.ended
    assert (row["status"], row["route"], row["choice"], row["attempts"]) == ("completed", "fast", None, 0)
    assert row["admitted_at"] == row["ended_at"] == hit.at
    assert row["admitted_position"] == row["ended_position"] == 4
    assert (row["reserved_nanos"], row["cost_nanos"], row["saved_nanos"], row["similarity"]) == (5, 5, 90, 0.97)
    assert (row["lease_id"], row["finish_reason"], row["served_model"]) == ("l1", "stop", "m-1")


def test_an_answer_from_the_cache_is_used_and_has_not_failed() -> None:
    (counters,) = usage.fold(events_of(USAGE, [request_message(4, [cached("r", 5), cached("s")])])).values()
    (counts,) = counters.values()
    counted = dict(zip(COUNTERS, counts, strict=True))

    assert (counted["requests"], counted["failed"], counted["cost_nanos"], counted["input"]) == (2, 0, 5, 0)


async def test_a_balance_is_what_the_last_ledger_event_says() -> None:
    story = Story()
    await story.grant(ACCOUNTS[0], 1_000)
    await story.lease(ACCOUNTS[0], "l0", 400)
    await story.charge(ACCOUNTS[0], "l0", 9, 150, NOON)
    (row,) = balances.fold(events_of(BALANCES, story.messages)).values()

    assert dict(zip(balances.COLUMNS, row, strict=True)) == {
        "account_id": ACCOUNTS[0],
        "balance_nanos": 850,
        "leased_nanos": 250,
        "open_leases": 1,
        "settled_to": 9,
        "position": 3,
        "changed_at": NOON,
    }


async def test_every_ledger_entry_balances_and_carries_on_the_chain() -> None:
    entries = [
        dict(zip(ledger_entries.COLUMNS, row, strict=True))
        for row in ledger_entries.fold(events_of(LEDGER_ENTRIES, await everyday_story()))
    ]

    assert len(entries) == 4 * len(ACCOUNTS)
    assert all(sum(leg.amount_nanos for leg in entry["legs"]) == 0 for entry in entries)
    mine = [entry for entry in entries if entry["account_id"] == ACCOUNTS[1]]
    assert [entry["amount_nanos"] for entry in mine] == [5_001, -300, -200, 1]
    assert [entry["balance_after_nanos"] for entry in mine] == [5_001, 4_701, 4_501, 4_502]
    assert mine[1]["hash"] == mine[2]["prevhash"]


async def test_people_keys_models_and_logins_become_rows() -> None:
    messages = await everyday_story()
    people = directory.fold(events_of(DIRECTORY, messages))
    sessions = logins.fold(events_of(LOGINS, messages))
    models = catalogue.fold(events_of(CATALOGUE, messages))

    assert (len(people.accounts), len(people.users), len(people.profiles)) == (5, 5, 5)
    assert (len(people.keys), len(people.revoked)) == (15, 5)
    assert (len(sessions.opened), len(sessions.refreshed), len(sessions.closed)) == (15, 5, 5)
    assert sorted(models.models) == ["m", "n"]
    assert [price[0] for price in models.prices] == ["m-100", "n-200", "m-150"]


async def test_a_deployment_or_route_that_was_removed_says_since_when() -> None:
    rows = catalogue.fold(events_of(CATALOGUE, await declared_story()))

    deployments = {name: dict(zip(catalogue._DEPLOYMENT, row, strict=True)) for name, row in rows.deployments.items()}
    routes = {name: dict(zip(catalogue._ROUTE, row, strict=True)) for name, row in rows.routes.items()}
    assert {name: row["removed_at"] is None for name, row in deployments.items()} == {"eu": True, "us": False}
    assert {name: row["removed_at"] is None for name, row in routes.items()} == {"fast": True, "slow": False}
    assert (deployments["eu"]["weight"], deployments["eu"]["provider"]) == (2, "openai")
    assert (routes["fast"]["deployments"], routes["fast"]["fallbacks"]) == (["eu"], ["o3"])


async def test_what_is_declared_is_the_same_however_the_history_is_cut() -> None:
    events = events_of(CATALOGUE, await declared_story())

    for cut_at in range(len(events) + 1):
        first, second = catalogue.fold(events[:cut_at]), catalogue.fold(events[cut_at:])
        deployments, routes = {**first.deployments, **second.deployments}, {**first.routes, **second.routes}
        for table, gone in ((deployments, second.gone_deployments), (routes, second.gone_routes)):
            table.update({name: (*table[name][:-1], at) for name, at in gone.items()})
        whole = catalogue.fold(events)
        assert (deployments, routes) == (whole.deployments, whole.routes)
        assert not whole.gone_deployments and not whole.gone_routes


def test_the_raw_usage_of_a_provider_is_kept_verbatim() -> None:
    end = next(event for event in EVENTS if isinstance(getattr(event.fact, "usage", None), msgspec.Raw))
    row = dict(zip((*END, *ANSWERED), requests.fold([end]).ended[end.fact.request_id], strict=True))

    assert row["usage"] == end.fact.usage
