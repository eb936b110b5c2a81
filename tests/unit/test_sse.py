"""Server-sent events come out the same wherever the network cuts the bytes."""

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers import sse
from adapters.providers.sse import EventTooLarge, sse_data

FIXTURES = Path(__file__).parents[1] / "fixtures" / "openai"
STREAMS = {path.stem: path.read_bytes() for path in sorted(FIXTURES.glob("*.sse"))}


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def events(*parts: bytes) -> list[bytes]:
    return [data async for read in sse_data(chunks(*parts)) for data in read]


def cut(whole: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(whole) + 1) for place in places), len(whole)]
    return [whole[start:end] for start, end in pairwise(edges)]


READINGS = [
    (b"data: a\n\n", [b"a"]),
    (b"data:a\n\n", [b"a"]),
    (b"data:  a\n\n", [b" a"]),
    (b"data: a\r\n\r\n", [b"a"]),
    (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    (b"data: a\rdata: b\r\n\r\n", [b"a\nb"]),
    (b"data: a\r\n\rdata: b\n\r\n", [b"a", b"b"]),
    (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    (b"data: a\ndata: b\n\n", [b"a\nb"]),
    (b"event: x\ndata: a\nid: 1\n\n", [b"a"]),
    (b": comment\n\ndata: a\n\n", [b"a"]),
    (b": comment\ndata: a\n\n", [b"a"]),
    (b"event: ping\n\n", []),
    (b"data\n\ndata:\n\n", [b""]),
    (b"\n\n\n\ndata: a\n\n\n\n", [b"a"]),
    (b"data: a\n\ndata: never finished", [b"a"]),
    (b"data: a\n\ndata: never finished\n", [b"a"]),
    (b"", []),
]


@pytest.mark.parametrize(("raw", "data"), READINGS)
async def test_events_are_read_by_the_book(raw: bytes, data: list[bytes]) -> None:
    assert await events(raw) == data
    assert await events(*(bytes([byte]) for byte in raw)) == data


@pytest.mark.parametrize("name", STREAMS)
@given(places=st.lists(st.integers(0, 5_000), max_size=12))
async def test_chunk_boundaries_change_nothing(name: str, places: list[int]) -> None:
    whole = STREAMS[name]

    assert await events(*cut(whole, places)) == await events(whole)


TEXT = st.binary(max_size=30).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))


@given(
    st.lists(st.lists(TEXT, min_size=1, max_size=3)), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0))
)
async def test_what_was_sent_is_what_is_read(sent: list[list[bytes]], newline: bytes, places: list[int]) -> None:
    raw = b"".join(b"".join(b"data: " + line + newline for line in lines) + newline for lines in sent)

    assert await events(*cut(raw, places)) == [b"\n".join(lines) for lines in sent]


async def test_an_event_without_an_end_is_given_up_before_it_fills_the_memory() -> None:
    flood = [b"data: "] + [b"x" * 1024 * 1024] * 9

    with pytest.raises(EventTooLarge):
        await events(*flood)


async def test_an_event_up_to_the_limit_is_read_whole() -> None:
    text = b"x" * (sse.MAX_EVENT_BYTES - 6)

    assert await events(b"data: " + text, b"\n\n") == [text]
