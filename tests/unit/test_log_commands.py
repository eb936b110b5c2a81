"""What the commands about the log say and where they look."""

from datetime import UTC, datetime
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from adapters.jetstream_reads import StoredMessage
from api.cli.log_access import FIRST_WINDOW, LARGEST_WINDOW, LogAccess, read_position, windows_back
from api.cli.log_lines import amount_of, line_of, words_of
from api.cli.log_tail import Wanted
from api.cli.trace_report import _as_data, _as_text, _standing
from api.cli.trace_search import Step, Trace, TraceSearch
from domain.ids import KeyId, LeaseId, RequestId
from domain.ledger import CreditLeased, ModelUsage, UsageCharged
from domain.pricing import Tokens
from domain.request import RequestFailed, abandoned
from domain.session import SessionOpened
from tests.money import ACCOUNT, AT, admitted, attempted, batch, cached, completed

LEASED = CreditLeased(
    account_id=ACCOUNT, at=AT, lease_id=LeaseId("l0"), worker="api-1", amount_nanos=500_000_000, expires_at=AT
)
CHARGED = UsageCharged(
    account_id=ACCOUNT,
    at=AT,
    from_position=3,
    to_position=9,
    amount_nanos=12_500_000,
    by_lease={LeaseId("l0"): 12_500_000},
    by_model={"m": ModelUsage(2, 12_500_000)},
    balance_after_nanos=1_000_000_000,
)


def step(fact: object, position: int = 1) -> Step:
    (envelope,) = batch("/workers/api-1", position, fact)  # type: ignore[arg-type]
    return Step("REQ", position, envelope, fact)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        *[("EVT:12", ("EVT", 12)), ("req:34", ("REQ", 34)), (" EVT:1 ", ("EVT", 1))],
        *[("EVT:0", None), ("EVT", None), ("12", None), ("TMR:1", None), ("EVT:-1", None), ("EVT:1x", None)],
    ],
)
def test_a_position_names_a_stream_and_a_message(text: str, place: tuple[str, int] | None) -> None:
    assert read_position(text) == place


def test_looking_back_misses_nothing_and_takes_ever_larger_steps() -> None:
    windows = list(windows_back(1_000_000))

    assert windows[0] == (1_000_000 - FIRST_WINDOW + 1, 1_000_000)
    assert windows[-1][0] == 1
    assert all(later[0] == earlier[1] + 1 for later, earlier in pairwise(windows))
    assert max(until - start + 1 for start, until in windows) == LARGEST_WINDOW
    assert list(windows_back(0)) == list(windows_back(5, first=6)) == []


def test_amounts_are_said_with_what_they_do() -> None:
    assert amount_of(LEASED) == "holds 0.50 USD"
    assert amount_of(CHARGED) == "charges 0.0125 USD"
    assert amount_of(admitted("r1")) == "reserves 0.0000001 USD"
    assert amount_of(completed("r1", 0)) == "costs 0.00 USD"
    assert amount_of(None) == words_of(None) == ""


def test_a_charge_says_for_what_and_what_is_left() -> None:
    assert words_of(CHARGED) == "2 requests in REQ:4..9; balance after it 1.00 USD"


def test_an_end_says_how_its_cost_is_known() -> None:
    failed = RequestFailed(
        **{name: getattr(admitted("r1"), name) for name in ("request_id", "account_id", "at", "lease_id", "model")},
        provider="sim",
        price_id="p",
        cost_nanos=1,
        evidence="estimated",
        tokens=Tokens(input=3, output=4),
        error_kind="timeout",
        message="too slow",
        client_gone=True,
    )

    assert words_of(failed) == "3 input + 4 output tokens, estimated; timeout: too slow; the client had gone"
    assert "its worker died; charged by input_estimate.v1" in words_of(abandoned(admitted("r1"), AT))


def test_a_line_shows_no_secret() -> None:
    opened = SessionOpened(
        user_id=msgspec.convert("u", str),  # type: ignore[arg-type]
        account_id=ACCOUNT,
        session_id="s1",  # type: ignore[arg-type]
        at=AT,
        salt="pepper",
        expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    )

    assert "pepper" not in words_of(opened) and "session_id=s1" in words_of(opened)


def test_a_line_of_a_request_names_it() -> None:
    (envelope,) = batch("/workers/w", 1, completed("r1", 5))

    assert line_of(envelope).startswith("costs 0.000000005 USD  r1  ")


def test_a_trace_shows_each_attempt_before_the_end() -> None:
    trace = Trace(admitted=step(admitted("r1")), found_by="reading")
    trace.attempts.append(step(attempted("r1", 1), 2))
    trace.ended = step(msgspec.structs.replace(completed("r1", 5), attempts=2, deployment="d2"), 3)
    text = _as_text(trace)

    said = "attempt 1 at d1: m at sim; refused 529: Overloaded.; took 12 ms; the provider bills 0.000000004 USD"
    assert said in text
    assert text.index(said) < text.index("attempt 2 at d2: m at sim")


def test_a_trace_tells_of_calls_side_by_side_and_what_the_one_given_up_may_cost() -> None:
    trace = Trace(admitted=step(admitted("r1")), found_by="reading")
    trace.attempts.append(step(msgspec.structs.replace(attempted("r1", 1), evidence="estimated"), 2))
    trace.ended = step(msgspec.structs.replace(completed("r1", 5), attempts=2, deployment="d2", hedged=True), 3)
    text = _as_text(trace)

    assert "the provider may bill 0.000000004 USD, nobody is charged" in text
    assert "attempt 2 at d2: m at sim; two calls ran side by side" in text


def test_an_answer_from_the_cache_is_one_step_under_no_lease() -> None:
    hit = step(msgspec.structs.replace(cached("r1"), route="fast", similarity=0.97, duration_ms=3))
    text = _as_text(Trace(admitted=hit, ended=hit, found_by="reading"))

    assert "completed, answered from the cache: it costs nothing, so nothing is charged" in text
    assert text.count("request.cached.v1") == 1 and "was not found" not in text
    assert (
        "answered from the cache, as m at sim did before; to a question that is 0.9700 alike; of route fast; saves "
        "0.00000009 USD; took 3 ms"
    ) in text


def test_a_trace_of_an_answer_from_the_cache_says_its_charge_and_who_asked() -> None:
    hit = step(msgspec.structs.replace(cached("r1", 5, "l1"), key_id=KeyId("k1")))
    trace = Trace(admitted=hit, ended=hit, found_by="reading")
    data = _as_data(trace)

    assert _standing(trace) == "completed, answered from the cache, not charged yet: it costs 0.000000005 USD"
    assert "lease l1 was not found" in _as_text(trace)
    assert (data["status"], [each["actor"] for each in data["steps"]]) == ("completed", ["key:k1"])


def test_an_answer_from_the_cache_is_found_as_admission_and_end_and_later_ends_are_void() -> None:
    nowhere = cast(LogAccess, SimpleNamespace(nats=None, database=None))
    search = TraceSearch(nowhere, RequestId("r1"), scan=True, advance=print)
    events = batch("/workers/w", 1, cached("other"), cached("r1"), completed("r1", 5))
    for sequence, envelopes in enumerate([events, events], 1):
        search._take(StoredMessage(sequence, "req.0", msgspec.json.encode(envelopes), AT))

    trace = search.trace
    assert trace.admitted is not None and trace.admitted is trace.ended
    assert [each.envelope.type for each in trace.steps] == ["request.cached.v1", "request.completed.v1"]
    assert trace.void == [trace.steps[1]]


def test_the_tail_is_filtered_by_stream_account_and_type() -> None:
    (envelope,) = batch("/workers/w", 1, completed("r1", 5))

    assert Wanted("all", None, "").streams == ("EVT", "REQ")
    assert Wanted("REQ", ACCOUNT, "request.").matches(envelope)
    assert not Wanted("REQ", "another", "").matches(envelope)
    assert not Wanted("REQ", None, "ledger.").matches(envelope)


def test_a_trace_says_how_the_request_stands() -> None:
    trace = Trace(admitted=step(admitted("r1")), found_by="reading")
    assert "open" in _standing(trace) and "lease l0 was not found" in _as_text(trace)

    trace.ended = step(completed("r1", 5), 2)
    assert _standing(trace) == "completed, not charged yet: it costs 0.000000005 USD"
    assert "nothing is charged" in _standing(msgspec.structs.replace(trace, ended=step(completed("r1", 0), 2)))

    trace.void.append(step(completed("r1", 7), 3))
    assert "void, an earlier end counts" in _as_text(trace)
