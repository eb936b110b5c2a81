"""What a projection gets to fold, and what is set aside."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.synthetic import envelope, request_events
from domain.ids import bucket_of
from domain.ports import LogMessage
from domain.request import (
    RequestAdmitted,
    RequestAttempted,
    RequestCached,
    RequestEnded,
    RequestEvent,
    abandoned,
)
from projections.intake import Batch, Intake, Known
from projections.projection import Claim
from projections.usage import USAGE
from tests.histories import NOON, request_message, request_messages
from tests.money import admitted as admitted_of
from tests.money import cached, completed

WHOLE = Claim("usage", "REQ", 0, 256, "w")


def some_requests(count: int) -> list[tuple[RequestAdmitted, RequestEnded]]:
    """Each with its end, which came after it."""
    admitted: dict[str, RequestAdmitted] = {}
    pairs: list[tuple[RequestAdmitted, RequestEnded]] = []
    for event in request_events(count * 5, accounts=20):
        if isinstance(event, RequestAdmitted):
            admitted[event.request_id] = event
        elif not isinstance(event, RequestAttempted | RequestCached):
            pairs.append((admitted[event.request_id], event))
    return pairs[:count]


def read(*messages: LogMessage, claim: Claim = WHOLE, known: Known | None = None) -> Batch:
    return Intake(USAGE, claim, known or Known(), {}).read(messages)


def facts(batch: Batch) -> list[RequestEvent]:
    return [event.fact for event in batch.events]


def raw_message(position: int, *envelopes: object) -> LogMessage:
    return LogMessage("REQ", position, "req.0", NOON, msgspec.json.encode(envelopes))


def test_events_that_a_retry_wrote_again_are_left_out() -> None:
    ((admitted, end),) = some_requests(1)
    once = request_message(1, [admitted, end])
    again = request_message(2, [admitted, end])

    assert facts(read(once, again)) == [admitted, end]


def test_a_writer_goes_on_where_it_was_before_a_restart() -> None:
    ((admitted, end),) = some_requests(1)
    known = Known(writers={"/w": 1}, open_requests={admitted.request_id})

    batch = read(request_message(2, [admitted, end]), known=known)

    assert facts(batch) == [end]
    assert batch.writers == {"/w": 2}


def test_only_the_first_end_of_a_request_counts() -> None:
    ((admitted, end),) = some_requests(1)
    given_up = abandoned(admitted, NOON)

    batch = read(
        request_message(1, [admitted]),
        request_message(2, [given_up], source="/sweeper"),
        request_message(3, [end], first=2),
    )

    assert facts(batch) == [admitted, given_up]
    assert (batch.opened, batch.closed) == ({}, [])


@pytest.mark.parametrize(
    ("events", "counted"),
    [
        ([cached("r")], [0]),
        ([cached("r"), completed("r", 5)], [0]),
        ([admitted_of("r"), cached("r")], [0]),
        ([admitted_of("r"), cached("r"), completed("r", 5)], [0, 2]),
    ],
)
def test_an_answer_from_the_cache_is_a_whole_request_and_void_where_one_is_open(
    events: list[RequestEvent], counted: list[int]
) -> None:
    at_once = read(request_message(1, events))
    intake = Intake(USAGE, WHOLE, Known(), {})
    parts = [intake.read([request_message(number, [fact], first=number)]) for number, fact in enumerate(events, 1)]

    assert facts(at_once) == [fact for part in parts for fact in facts(part)] == [events[index] for index in counted]


def test_an_answer_from_the_cache_leaves_nothing_open() -> None:
    batch = read(request_message(1, [cached("r")]))

    assert (batch.opened, batch.closed) == ({}, [])


def test_requests_left_open_and_closed_are_reported_for_the_checkpoint() -> None:
    (old, old_end), (new, _) = some_requests(2)
    known = Known(open_requests={old.request_id})

    batch = read(request_message(7, [new, old_end]), known=known)

    assert batch.opened == {new.request_id: (new.account_id, 7)}
    assert batch.closed == [old.request_id]


def test_other_owners_accounts_are_left_out_and_nothing_is_left_out_by_all() -> None:
    messages = request_messages(600)
    low = Claim("usage", "REQ", 0, 100, "w")
    high = Claim("usage", "REQ", 100, 256, "w")

    first, second, everything = (facts(read(*messages, claim=claim)) for claim in (low, high, WHOLE))

    assert first and second
    assert {bucket_of(fact.account_id) < 100 for fact in first} == {True}
    assert len(first) + len(second) == len(everything)


def test_an_unknown_fact_is_parked_with_all_that_follows_on_its_account() -> None:
    (mine, my_end), (other, other_end) = next(
        (one, two)
        for one, two in zip(some_requests(20), some_requests(20)[1:], strict=False)
        if one[0].account_id != two[0].account_id
    )
    strange = msgspec.structs.replace(envelope(mine, "/w", 2), type="request.teleported.v9")
    batch = read(
        raw_message(
            1,
            envelope(mine, "/w", 1),
            strange,
            envelope(my_end, "/w", 3),
            envelope(other, "/w", 4),
            envelope(other_end, "/w", 5),
        )
    )

    assert facts(batch) == [mine, other, other_end]
    assert [(parked.index, parked.account_id, parked.is_cause) for parked in batch.parked] == [
        (1, mine.account_id, True),
        (2, mine.account_id, False),
    ]
    assert "request.teleported.v9" in batch.parked[0].error


def test_data_that_breaks_its_promise_is_parked() -> None:
    ((admitted, _),) = some_requests(1)
    broken = msgspec.structs.replace(envelope(admitted, "/w", 1), data=msgspec.Raw(b'{"request_id":5}'))

    batch = read(raw_message(1, broken))

    assert not batch.events
    assert batch.parked[0].raw == msgspec.json.encode(broken)


def test_one_unreadable_envelope_does_not_take_its_neighbours_along() -> None:
    ((admitted, end),) = some_requests(1)
    batch = read(raw_message(1, envelope(admitted, "/w", 1), {"no": "envelope"}, envelope(end, "/w", 2)))

    assert facts(batch) == [admitted, end]
    assert [(parked.index, parked.raw) for parked in batch.parked] == [(1, b'{"no":"envelope"}')]


def test_a_message_that_is_no_batch_is_parked_whole() -> None:
    batch = read(LogMessage("REQ", 1, "req.0", NOON, b"\xff\xfe"))

    assert [(parked.raw, parked.account_id) for parked in batch.parked] == [(b"\xff\xfe", "")]


@given(st.lists(st.integers(1, 39), max_size=8))
def test_reading_in_parts_gives_what_reading_at_once_gives(cuts: list[int]) -> None:
    messages = request_messages(40 * 8, batch=8)
    bounds = sorted({0, *cuts, len(messages)})
    intake = Intake(USAGE, WHOLE, Known(), {})

    parts = [intake.read(messages[start:end]) for start, end in pairwise(bounds)]

    assert [fact for part in parts for fact in facts(part)] == facts(read(*messages))
