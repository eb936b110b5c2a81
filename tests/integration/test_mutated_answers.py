"""Good answers of every vendor with something spoilt somewhere: whatever it is, what must hold always holds."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import ProviderBroken
from domain.pricing import Tokens
from tests.broken_upstream import STREAM_HEAD, Do, answer, chunk, streamed
from tests.provider_ways import EMBEDDINGS, STREAMS, WHOLES, Way, answered
from tests.vendor_wires import REPORTED, good_stream, good_whole

fuzzed = settings(max_examples=25)
PLACES = st.integers(0, 100_000)
WORDS = st.sampled_from(
    [
        b"",
        b"\0",
        b"\xff",
        b"\n",
        b"\n\n",
        b"\r",
        b"{",
        b"}",
        b'"',
        b"null",
        b"-",
        b"e999",
        b"[DONE]",
        b"data: ",
        b"\\u0000",
    ]
)


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes removed, said twice, flipped, or put where they do not belong."""
    for _ in range(draw(st.integers(1, 4))):
        start, length = draw(PLACES) % (len(whole) + 1), draw(st.integers(0, 12))
        middle = whole[start : start + length]
        match draw(st.sampled_from(["delete", "duplicate", "flip", "insert", "replace"])):
            case "delete":
                middle = b""
            case "duplicate":
                middle += middle
            case "flip":
                middle = bytes(byte ^ draw(st.integers(1, 255)) for byte in middle)
            case "insert":
                middle += draw(WORDS)
            case _:
                middle = draw(WORDS)
        whole = whole[:start] + middle + whole[start + length :]
    return whole


@st.composite
def shuffled(draw: st.DrawFn, events: list[bytes]) -> list[bytes]:
    """Events left out, said twice, or in another order."""
    order = draw(st.lists(st.integers(0, len(events) - 1), min_size=0, max_size=2 * len(events)))
    return [events[number] for number in order]


def material(way: Way) -> list[bytes]:
    stream = good_stream(way.wire)
    return [*stream[:-2], *way.wire.tools, *way.wire.unknown, *stream[-2:], way.wire.error]


@pytest.mark.parametrize("way", STREAMS, ids=str)
@given(data=st.data())
@fuzzed
async def test_a_stream_with_spoilt_bytes_ends_once_and_is_charged_as_it_must_be(way: Way, data: st.DataObject) -> None:
    events = material(way)[:-1]
    whole = data.draw(spoilt(b"".join(events)), label="stream")
    places = sorted(place % (len(whole) + 1) for place in data.draw(st.lists(PLACES, max_size=5), label="cuts"))
    pieces = [whole[start:end] for start, end in pairwise([0, *places, len(whole)])]

    await answered(way, streamed(*filter(None, pieces)))


@pytest.mark.parametrize("way", STREAMS, ids=str)
@given(data=st.data())
@fuzzed
async def test_events_in_any_order_and_number_end_once(way: Way, data: st.DataObject) -> None:
    events = data.draw(shuffled(material(way)), label="events")

    await answered(way, streamed(*events))


@pytest.mark.parametrize("way", WHOLES, ids=str)
@given(data=st.data())
@fuzzed
async def test_a_whole_answer_with_spoilt_bytes_ends_once(way: Way, data: st.DataObject) -> None:
    await answered(way, answer(data.draw(spoilt(good_whole(way.wire)), label="body")))


@pytest.mark.parametrize("way", STREAMS, ids=str)
@given(data=st.data())
@fuzzed
async def test_a_stream_cut_anywhere_is_paid_for_what_was_delivered_and_for_no_more(
    way: Way, data: st.DataObject
) -> None:
    """But for one that was complete already."""
    whole = b"".join(good_stream(way.wire))
    place = data.draw(st.integers(0, len(whole)), label="place")
    last = data.draw(st.sampled_from([(), (Do.RESET,)]), label="last")

    outcome = await answered(way, STREAM_HEAD + (chunk(whole[:place]) if place else b""), *last)

    if outcome.error is None:
        assert outcome.end.tokens == REPORTED
        return
    assert isinstance(outcome.error, ProviderBroken)
    assert outcome.end.cost_nanos <= outcome.running.command.call.input_estimate + 4 * 2


VECTORS = {
    "openai": b'{"data":[{"index":0,"embedding":[1.0,0.0]},{"index":1,"embedding":[0.0,1.0]}],"model":"m",'
    b'"usage":{"prompt_tokens":12,"total_tokens":12}}',
    "google": b'{"embeddings":[{"values":[1.0,0.0]},{"values":[0.0,1.0]}],"usageMetadata":{"promptTokenCount":12}}',
    "cohere": b'{"embeddings":{"float":[[1.0,0.0],[0.0,1.0]]},"meta":{"billed_units":{"input_tokens":12}}}',
}


@pytest.mark.parametrize("way", EMBEDDINGS, ids=str)
async def test_good_embeddings_are_charged_as_reported(way: Way) -> None:
    outcome = await answered(way, answer(VECTORS[way.vendor.name]))

    assert (outcome.error, outcome.end.tokens, outcome.end.cost_nanos) == (None, Tokens(input=12), 12)


@pytest.mark.parametrize("way", EMBEDDINGS, ids=str)
@given(data=st.data())
@fuzzed
async def test_embeddings_with_spoilt_bytes_end_once(way: Way, data: st.DataObject) -> None:
    await answered(way, answer(data.draw(spoilt(VECTORS[way.vendor.name]), label="body")))
