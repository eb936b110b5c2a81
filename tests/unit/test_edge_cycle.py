"""An answer leaves as uvicorn would write it, in fewer pieces."""

import asyncio
import logging
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from api.edge_cycle import EdgeCycle
from api.send import send_whole


class Transport:
    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


class Flow:
    write_paused = False


class Answer:
    def __init__(self, kind: type[RequestResponseCycle], method: str = "POST", *, keep_alive: bool = True) -> None:
        self.transport = Transport()
        self.ends = 0
        self.cycle = kind(
            scope=cast(Any, {"method": method}),
            transport=cast(Any, self.transport),
            flow=cast(Any, Flow()),
            logger=logging.getLogger("uvicorn.error"),
            access_logger=logging.getLogger("uvicorn.access"),
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self._end,
        )

    def _end(self) -> None:
        self.ends += 1

    async def say(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            await self.cycle.send(cast(Any, message))

    async def outcome(self, *messages: dict[str, Any]) -> tuple[object, ...]:
        """All that a client and the server can see of it."""
        try:
            await self.say(*messages)
        except RuntimeError:
            return ("refused",)
        return b"".join(self.transport.writes), self.transport.is_closed, self.ends, self.cycle.response_complete


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def piece(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


HEADERS = st.sampled_from(
    [
        (b"Content-Type", b"application/json"),
        (b"x-said", b"\tcaf\xe9 ~"),
        (b"x-empty", b""),
        (b"connection", b"close"),
        (b"connection", b"keep-alive"),
        (b"content-length", b"3"),
        (b"content-length", b"0"),
        (b"transfer-encoding", b"chunked"),
        (b"x-split", b"a\r\nb: c"),
        (b"x-split", b"a\n"),
        (b"x-nul", b"\x00"),
        (b"x nam\r\n", b"a"),
        (b"x:", b"a"),
    ]
)
FEW = st.lists(HEADERS, max_size=4, unique_by=lambda header: header[0].lower())


@given(
    FEW,
    st.lists(st.sampled_from([b"", b"a", b"abc"]), min_size=1, max_size=4),
    st.sampled_from([200, 204, 304, 429, 500]),
    st.sampled_from(["POST", "GET", "HEAD"]),
    st.booleans(),
)
def test_what_a_client_reads_is_what_uvicorn_would_have_said(
    headers: list[tuple[bytes, bytes]], bodies: list[bytes], status: int, method: str, keep_alive: bool
) -> None:
    pieces = [piece(body, more=True) for body in bodies[:-1]] + [piece(bodies[-1], more=False)]
    said = (start(*headers, status=status), *pieces)

    async def both() -> list[tuple[object, ...]]:
        kinds = (EdgeCycle, RequestResponseCycle)
        return [await Answer(kind, method, keep_alive=keep_alive).outcome(*said) for kind in kinds]

    ours, theirs = asyncio.run(both())
    assert ours == theirs


async def test_a_whole_answer_is_one_write() -> None:
    answer = Answer(EdgeCycle)

    await send_whole(cast(Any, answer.cycle.send), 200, [(b"content-type", b"text/plain")], b"all of it")

    assert len(answer.transport.writes) == 1


async def test_nothing_is_written_before_there_is_a_piece_of_the_body() -> None:
    answer = Answer(EdgeCycle)

    await answer.say(start())
    assert not answer.transport.writes

    await answer.say(piece(b"a", more=True))
    assert len(answer.transport.writes) == 1


@pytest.mark.parametrize(
    "messages",
    [
        [piece(b"", more=False)],
        [start(), start()],
        [start(), piece(b"", more=False), piece(b"", more=False)],
        [start(), {"type": "http.response.trailers"}],
    ],
)
async def test_what_comes_out_of_order_is_refused(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(RuntimeError):
        await Answer(EdgeCycle).say(*messages)


async def test_who_has_hung_up_is_written_nothing() -> None:
    answer = Answer(EdgeCycle)
    answer.cycle.disconnected = True

    await answer.say(start(), piece(b"a", more=False))

    assert not answer.transport.writes
