"""What a connection to Valkey hears: whole replies to what was asked, and nothing else ever."""

import asyncio
from typing import Any

import pytest
from hiredis import ReplyError

from adapters.valkey_wire import Wire


class Transport(asyncio.WriteTransport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_aborted = False

    def write(self, data: Any) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.is_aborted = True


class Line:
    def __init__(self) -> None:
        self.transport = Transport()
        self.heard: list[list[Any]] = []
        self.losses = 0
        self.wire = Wire(self.transport, self.heard.append, self._lost)

    def _lost(self) -> None:
        self.losses += 1

    @property
    def is_given_up(self) -> bool:
        return self.transport.is_aborted and self.losses == 1


def test_what_is_asked_together_is_written_at_once() -> None:
    line = Line()

    line.wire.ask([b"one", b"two"])

    assert line.transport.written == [b"onetwo"]


def test_replies_are_heard_together_however_they_are_cut() -> None:
    line = Line()
    line.wire.ask([b"", b"", b""])

    for byte in b":1\r\n$3\r\ntwo\r\n*2\r\n:3\r\n$1\r\n4\r\n":
        assert line.heard == []
        line.wire.data_received(bytes([byte]))

    assert line.heard == [[1, b"two", [3, b"4"]]]


def test_a_refusal_is_one_of_the_replies() -> None:
    line = Line()
    line.wire.ask([b"", b""])

    line.wire.data_received(b"-OOM full\r\n:2\r\n")

    refusal, answer = line.heard[0]
    assert (type(refusal), str(refusal), answer) == (ReplyError, "OOM full", 2)


def test_what_the_server_announces_by_itself_is_no_reply() -> None:
    line = Line()
    line.wire.data_received(b">2\r\n+invalidate\r\n_\r\n")
    line.wire.ask([b""])
    line.wire.data_received(b">2\r\n+invalidate\r\n_\r\n:1\r\n")

    assert (line.heard, line.losses) == ([[1]], 0)


@pytest.mark.parametrize("received", [b":1\r\n:2\r\n", b"?\r\n"], ids=["too much", "no protocol"])
def test_a_connection_that_says_what_nobody_asked_for_is_given_up(received: bytes) -> None:
    line = Line()
    line.wire.ask([b""])

    line.wire.data_received(received)

    assert line.is_given_up
    assert line.heard == []


def test_a_reply_after_the_last_one_is_never_taken_for_the_next() -> None:
    line = Line()
    line.wire.ask([b""])
    line.wire.data_received(b":1\r\n")

    line.wire.data_received(b":2\r\n")

    assert line.is_given_up
    assert line.heard == [[1]]


def test_nothing_is_heard_or_told_of_a_connection_that_was_given_up() -> None:
    line = Line()
    line.wire.ask([b""])
    line.wire.abort()

    line.wire.data_received(b":1\r\n")
    line.wire.connection_lost(None)

    assert (line.heard, line.losses) == ([], 0)


def test_a_connection_that_ends_by_itself_is_lost_once() -> None:
    line = Line()
    line.wire.ask([b""])

    line.wire.connection_lost(ConnectionResetError())
    line.wire.connection_lost(None)

    assert line.losses == 1
