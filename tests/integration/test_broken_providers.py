"""Whatever breaks between a provider and us ends in a clear error, exactly once, and costs what was delivered."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import ProviderBroken, ProviderRefused, ProviderUnreachable
from tests.broken_upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    Do,
    Filler,
    Step,
    answer,
    broken_upstream,
    head,
    streamed,
)
from tests.provider_ways import (
    EMBEDDINGS,
    HANG_S,
    STREAMS,
    WAYS,
    WHOLES,
    Way,
    answered,
    one_provider,
)
from tests.vendor_wires import REPORTED, good_stream, good_whole

every_way = pytest.mark.parametrize("way", WAYS, ids=str)
every_stream = pytest.mark.parametrize("way", STREAMS, ids=str)
every_whole = pytest.mark.parametrize("way", WHOLES, ids=str)
MIB = 1024 * 1024


def good(way: Way) -> bytes:
    return streamed(*good_stream(way.wire)) if way.stream else answer(good_whole(way.wire))


def body(way: Way) -> bytes:
    return b"".join(good_stream(way.wire)) if way.stream else good_whole(way.wire)


@every_way
async def test_a_good_answer_is_charged_as_reported(way: Way) -> None:
    outcome = await answered(way, good(way))

    assert (outcome.error, outcome.end.tokens, outcome.end.cost_nanos) == (None, REPORTED, 24)


NOTHING_CAME: dict[str, tuple[Step, ...]] = {
    "closed": (),
    "reset": (Do.RESET,),
    "half closed": (b"HTTP/1.1 20", Do.HALF_CLOSE),
    "cut in the status line": (b"HTTP/1.1 2",),
    "cut in the headers": (b"HTTP/1.1 200 OK\r\ncontent-ty",),
    "reset in the headers": (b"HTTP/1.1 200 OK\r\ncontent-ty", Do.RESET),
    "reset after the headers": (STREAM_HEAD, Do.RESET),
    "closed after the headers": (STREAM_HEAD,),
    "an empty body": (answer(b""),),
    "an empty chunked body": (STREAM_HEAD + LAST_CHUNK,),
    "no content": (head("", status=204),),
    "reset content": (head("content-length: 0\r\n", status=205),),
    "HTML": (answer(b"<!doctype html><html>Hello</html>", headers="content-type: text/html\r\n"),),
    "HTML of many lines": (answer(b"<html>\n\n<body>\n\n</body>\n\n</html>\n\n"),),
    "another protocol": (b"220 smtp.example ESMTP\r\n",),
    "NUL bytes": (answer(b"\0" * 64),),
    "not UTF-8": (answer(b"data: \xff\xfe\n\n"),),
    "a number": (answer(b"7"),),
    "a string": (answer(b'"choices"'),),
    "a list": (answer(b"[]"),),
    "an object": (answer(b"{}"),),
    "null": (answer(b"null"),),
    "nested deeply": (answer(b"data: " + b"[" * 100_000 + b"\n\n"),),
    "members of wrong types": (
        answer(b'{"choices":7,"content":{},"output":"x","candidates":0,"message":[],"type":3,"embeddings":1,"data":9}'),
    ),
    "events of wrong types": (streamed(b'data: {"choices":7,"type":3,"candidates":0,"delta":[],"message":1}\n\n'),),
    "gzip that is none": (answer(b"plain", headers="content-encoding: gzip\r\n"),),
    "an encoding that nobody knows": (answer(b"plain", headers="content-encoding: novelty\r\n"),),
    "no chunk size": (STREAM_HEAD + b"zz\r\nhello\r\n0\r\n\r\n",),
    "a negative chunk size": (STREAM_HEAD + b"-5\r\nhello\r\n0\r\n\r\n",),
    "a chunk size without an end": (STREAM_HEAD + b"f" * 40 + b"\r\n",),
    "a chunk longer than it says": (STREAM_HEAD + b"2\r\nhello\r\n0\r\n\r\n",),
    "two lengths": (head("content-length: 2\r\ncontent-length: 3\r\n") + b"{}",),
    "a length that is no number": (head("content-length: two\r\n") + b"{}",),
    "a negative length": (head("content-length: -2\r\n") + b"{}",),
    "a giant header": (head(f"x-giant: {'x' * MIB}\r\n") + b"{}",),
    "headers without an end": (b"HTTP/1.1 200 OK\r\n", Filler(b"x-more: and more\r\n" * 1000, 1000)),
    "a header line without an end": (b"HTTP/1.1 200 OK\r\nx: ", Filler(b"x" * 10_000, 1000)),
    "a status line without an end": (b"HTTP/1.1 200 ", Filler(b"x" * 10_000, 1000)),
    "switching protocols": (head("upgrade: h2c\r\nconnection: upgrade\r\n", status=101),),
}


@pytest.mark.parametrize("script", NOTHING_CAME.values(), ids=NOTHING_CAME.keys())
@pytest.mark.parametrize("way", [*WAYS, *EMBEDDINGS], ids=str)
async def test_an_answer_that_is_none_is_an_error_and_costs_nothing(way: Way, script: tuple[Step, ...]) -> None:
    outcome = await answered(way, *script)

    assert isinstance(outcome.error, ProviderBroken | ProviderRefused)
    assert (outcome.end.cost_nanos, outcome.data) == (0, b"")


async def test_a_provider_that_is_not_there_is_told_apart() -> None:
    async with broken_upstream() as upstream:
        gone = upstream.url
    async with asyncio.timeout(HANG_S), one_provider(WHOLES[0], gone) as provider:
        _, error, _, _ = await provider.ask()

    assert isinstance(error, ProviderUnreachable)
    assert [end.cost_nanos for end in provider.ends] == [0]


@every_way
@pytest.mark.parametrize("last", [(), (Do.RESET,)], ids=["closed", "reset"])
async def test_an_answer_shorter_than_it_says_is_broken(way: Way, last: tuple[Step, ...]) -> None:
    promised = head(f"content-length: {len(body(way)) + 1000}\r\n")

    outcome = await answered(way, promised + body(way)[:-30], *last)

    assert isinstance(outcome.error, ProviderBroken)
    assert outcome.end.cost_nanos == 0 or way.stream


@every_way
@given(data=st.data())
@settings(max_examples=8)
async def test_a_cut_anywhere_in_the_answer_is_broken(way: Way, data: st.DataObject) -> None:
    """But for a stream that was complete already, which needs nothing after its end mark."""
    whole = good(way)
    place = data.draw(st.integers(0, len(whole) - 1), label="place")
    ending = data.draw(st.sampled_from([(), (Do.RESET,)]), label="ending")

    outcome = await answered(way, whole[:place], *ending)

    if outcome.error is None:
        assert (way.stream, outcome.end.tokens) == (True, REPORTED)


@every_way
async def test_an_answer_of_http_1_0_ends_with_its_connection(way: Way) -> None:
    outcome = await answered(way, b"HTTP/1.0 200 OK\r\n\r\n" + body(way))

    assert (outcome.error, outcome.end.tokens) == (None, REPORTED)


@every_way
async def test_continue_comes_before_the_answer(way: Way) -> None:
    outcome = await answered(way, b"HTTP/1.1 100 Continue\r\n\r\n" + good(way))

    assert (outcome.error, outcome.end.tokens) == (None, REPORTED)


@every_way
async def test_the_content_type_does_not_matter_if_the_content_is_good(way: Way) -> None:
    outcome = await answered(way, answer(body(way), headers="content-type: text/html; charset=utf-7\r\n"))

    assert (outcome.error, outcome.end.tokens) == (None, REPORTED)


@every_way
async def test_what_comes_in_single_bytes_is_the_same(way: Way) -> None:
    whole = good(way)
    outcome = await answered(way, *(whole[place : place + 1] for place in range(len(whole))))

    assert (outcome.error, outcome.end.tokens) == (None, REPORTED)


@every_way
async def test_what_follows_an_answer_on_its_connection_is_nobody_elses_answer(way: Way) -> None:
    foreign = good(way).replace(b"Hel", b"BAD")
    async with (
        asyncio.timeout(HANG_S),
        broken_upstream((good(way) + foreign,), (good(way),)) as upstream,
        one_provider(way, upstream.url) as provider,
    ):
        answers = [await provider.ask(), await provider.ask()]

    assert upstream.asked == 2
    for _, error, reply, pieces in answers:
        told = reply.body if reply else b"".join(piece.data for piece in pieces)
        assert (error, b"BAD" in told, b"Hel" in told) == (None, False, True)
