"""What a provider says wrong, twice, late or never inside of a good connection is told, and charged as it should be."""

import gzip

import msgspec
import pytest

from domain.errors import ProviderBroken
from domain.request import RequestCompleted
from tests.broken_upstream import answer, streamed
from tests.provider_ways import STREAMS, WHOLES, Outcome, Way, answered, answered_whole
from tests.vendor_wires import MODEL, REPORTED, good_stream, good_usage, good_whole

every_stream = pytest.mark.parametrize("way", STREAMS, ids=str)
every_whole = pytest.mark.parametrize("way", WHOLES, ids=str)


async def told(way: Way, *events: bytes) -> Outcome:
    return await answered(way, streamed(*events))


def is_good(outcome: Outcome) -> bool:
    return (outcome.error, outcome.end.tokens, outcome.end.cost_nanos) == (None, REPORTED, 24)


@every_stream
async def test_an_error_as_the_first_event_costs_nothing(way: Way) -> None:
    outcome = await told(way, way.wire.error, *good_stream(way.wire))

    assert isinstance(outcome.error, ProviderBroken)
    assert (outcome.end.cost_nanos, outcome.data) == (0, b"")


@every_stream
async def test_an_error_in_the_middle_is_told_after_what_was_said(way: Way) -> None:
    outcome = await told(way, *way.wire.begun(), way.wire.error, *way.wire.finished(None), *way.wire.ended())

    assert isinstance(outcome.error, ProviderBroken)
    assert (outcome.end.evidence, outcome.running.delivered_chars) == ("estimated", 6)


@every_stream
async def test_an_error_after_the_finish_is_charged_as_reported(way: Way) -> None:
    """Where the finish is the end, nobody reads on."""
    finished = way.wire.finished(good_usage(way.wire))

    outcome = await told(way, *way.wire.begun(), *finished, way.wire.error, *way.wire.ended())

    assert (outcome.error is None) == (way.wire.name in ("openai responses", "cohere"))
    assert (outcome.end.evidence, outcome.end.cost_nanos) == ("reported", 24)


@every_stream
async def test_events_that_nobody_knows_change_nothing(way: Way) -> None:
    events = [told for one in good_stream(way.wire) for told in (*way.wire.unknown, one)]

    assert is_good(await told(way, *events))


@every_stream
async def test_a_stream_without_a_finish_is_broken_or_an_estimate(way: Way) -> None:
    outcome = await told(way, *way.wire.begun(), *way.wire.ended())

    assert (outcome.end.evidence, outcome.running.delivered_chars) == ("estimated", 6)


@every_stream
async def test_an_end_mark_alone_is_no_free_lunch_and_no_crash(way: Way) -> None:
    """An answer that is empty was still asked for; one that never ended was not delivered."""
    outcome = await told(way, *way.wire.ended())

    assert outcome.end.evidence == ("none" if outcome.error else "estimated")


@every_stream
async def test_a_finish_without_usage_is_an_estimate(way: Way) -> None:
    outcome = await told(way, *way.wire.begun(), *way.wire.finished(None), *way.wire.ended())

    assert (outcome.error, outcome.end.evidence) == (None, "estimated")


@every_stream
async def test_usage_without_a_finish_is_believed_for_no_more_than_was_delivered_then(way: Way) -> None:
    used = way.wire.used(way.wire.usage(b"12", b"1"))

    outcome = await told(way, *way.wire.begun()[:-1], *used, *way.wire.begun()[-1:] * 20)

    assert isinstance(outcome.error, ProviderBroken)
    assert outcome.end.evidence == "estimated"
    assert outcome.end.cost_nanos >= outcome.running.delivered_chars


@every_stream
async def test_a_finish_said_twice_is_one(way: Way) -> None:
    finished = way.wire.finished(good_usage(way.wire))

    assert is_good(await told(way, *way.wire.begun(), *finished, *finished, *way.wire.ended()))


@every_stream
async def test_a_stream_that_goes_on_after_its_end_is_not_read_on(way: Way) -> None:
    """Gemini's goes on until the connection says that it is over."""
    outcome = await told(way, *good_stream(way.wire), *way.wire.begun(), way.wire.error)

    assert is_good(outcome) or way.vendor.name == "google"


@every_stream
async def test_two_answers_told_at_once_end_once(way: Way) -> None:
    woven = [one for pair in zip(good_stream(way.wire), good_stream(way.wire), strict=True) for one in pair]

    assert is_good(await told(way, *woven))


@every_stream
async def test_tool_calls_out_of_order_or_without_their_beginning_never_crash(way: Way) -> None:
    tools = list(way.wire.tools)
    ending = [*way.wire.finished(good_usage(way.wire)), *way.wire.ended()]
    assert is_good(await told(way, *way.wire.begun(), *tools, *ending))

    for order in (tools[::-1], tools[1:], tools[2:], [*tools[1:], *tools], [*tools, *tools], tools[::2]):
        outcome = await told(way, *way.wire.begun(), *order, *ending)
        assert is_good(outcome) or isinstance(outcome.error, ProviderBroken)
        assert outcome.end.cost_nanos > 0


@every_stream
@pytest.mark.parametrize("missing", [b'"index"', b'"id"', b'"name"', b'"arguments"', b'"function"', b'"type"'])
async def test_tool_calls_that_lack_a_member_never_crash(way: Way, missing: bytes) -> None:
    tools = [one.replace(missing, b'"nothing"') for one in way.wire.tools]

    outcome = await told(way, *way.wire.begun(), *tools, *way.wire.finished(good_usage(way.wire)), *way.wire.ended())

    assert is_good(outcome) or isinstance(outcome.error, ProviderBroken)


def spelled(events: list[bytes], way: str) -> bytes:
    whole = b"".join(events)
    match way:
        case "CRLF":
            return whole.replace(b"\n", b"\r\n")
        case "CR":
            return whole.replace(b"\n", b"\r")
        case "a mixture":
            return whole.replace(b"\n\n", b"\r\n\n").replace(b"data:", b"id: 7\rdata:")
        case "comments":
            return b": hello\n\n" + whole.replace(b"data:", b": comment\n:\ndata:")
        case "no space":
            return whole.replace(b"data: ", b"data:")
        case "several lines":
            return whole.replace(b',"', b',\ndata: "')
        case "a byte order mark":
            return b"\xef\xbb\xbf" + whole
        case _:
            return b"retry: 10\n\n" + whole.replace(b"\n\n", b"\nid: 1\nnovelty: 2\n\n\n\n")


SPELLINGS = ["CRLF", "CR", "a mixture", "comments", "no space", "several lines", "a byte order mark", "other fields"]


@every_stream
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_however_events_are_spelled_the_answer_is_the_same(way: Way, spelling: str) -> None:
    whole = spelled(good_stream(way.wire), spelling)

    outcome = await told(way, *(whole[place : place + 7] for place in range(0, len(whole), 7)))

    assert is_good(outcome)
    assert outcome.running.delivered_chars == 6


@every_stream
async def test_a_compressed_stream_is_read_though_none_was_asked_for(way: Way) -> None:
    packed = gzip.compress(b"".join(good_stream(way.wire)))

    assert is_good(await answered(way, answer(packed, headers="content-encoding: gzip\r\n")))


@every_whole
async def test_a_compressed_answer_is_read_though_none_was_asked_for(way: Way) -> None:
    packed = gzip.compress(good_whole(way.wire))

    assert is_good(await answered(way, answer(packed, headers="content-encoding: gzip\r\n")))


ODD = [b"-1", b"1e30", b"1000000001", b"9" * 400, b'"12"', b"12.5", b"true", b"[]", b"{}", b"null"]


@pytest.mark.parametrize("count", ODD, ids=[count.decode()[:12] for count in ODD])
@pytest.mark.parametrize("way", [*WHOLES, *STREAMS], ids=str)
async def test_a_report_that_cannot_be_true_is_an_estimate(way: Way, count: bytes) -> None:
    odd = way.wire.usage(count, count)

    outcome = await reported(way, odd)

    assert isinstance(outcome.end, RequestCompleted)
    assert outcome.end.evidence == "estimated"


@pytest.mark.parametrize("usage", [b"7", b'"none"', b"[]", b"{}", b"null", b'{"novelty":1}', b"[" * 40 + b"]" * 40])
@pytest.mark.parametrize("way", [*WHOLES, *STREAMS], ids=str)
async def test_a_report_that_is_none_is_an_estimate(way: Way, usage: bytes) -> None:
    outcome = await reported(way, msgspec.Raw(usage))

    assert isinstance(outcome.end, RequestCompleted)
    assert outcome.end.evidence == "estimated"


@pytest.mark.parametrize("way", [*WHOLES, *STREAMS], ids=str)
async def test_a_report_of_nothing_is_believed(way: Way) -> None:
    outcome = await reported(way, way.wire.usage(b"0", b"0"))

    assert (outcome.end.evidence, outcome.end.cost_nanos) == ("reported", 0)


@pytest.mark.parametrize("way", [*WHOLES, *STREAMS], ids=str)
async def test_what_a_provider_reports_can_always_be_recorded(way: Way) -> None:
    """Whatever its size: an end that no log takes would be a request that never ends."""
    usage = good_usage(way.wire)
    giant = msgspec.Raw(bytes(usage)[:-1] + b',"novelty":"' + b"x" * 2_000_000 + b'"}')
    name = b"m" * 2_000_000

    outcome = await reported(way, giant, model=name)

    assert is_good(outcome)
    assert len(msgspec.json.encode(outcome.end)) < 200_000


@pytest.mark.parametrize("way", [*WHOLES, *STREAMS], ids=str)
async def test_no_word_of_a_provider_has_a_character_that_databases_refuse(way: Way) -> None:
    named = await reported(way, good_usage(way.wire), model=b"a\\u0000b")
    failed = await answered_whole(way, b'{"error":{"message":"a\\u0000b"},"message":"a\\u0000b"}')

    assert is_good(named)
    assert isinstance(failed.error, ProviderBroken)
    assert b"\\u0000" not in msgspec.json.encode(named.end) + msgspec.json.encode(failed.end)


async def reported(way: Way, usage: msgspec.Raw, model: bytes = MODEL.encode()) -> Outcome:
    if not way.stream:
        return await answered_whole(way, way.wire.whole(usage).replace(MODEL.encode(), model))
    events = [*way.wire.begun(), *way.wire.finished(usage), *way.wire.ended()]
    return await told(way, *(one.replace(MODEL.encode(), model) for one in events))
