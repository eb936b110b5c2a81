"""A feed hands out what has come of a burst, asks for no message twice, and knows a cut from an end."""

from typing import Any, cast

import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from adapters.pulled_feed import PulledFeed
from domain.ports import FeedBroken, LogMessage

INBOX = "_INBOX.feed"
AT_ONCE, PATIENTLY = 0.0, 60.0


class Server:
    """Takes requests down and answers none by itself."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.feed = PulledFeed(cast(Client, self), "REQ", "feed", INBOX)

    async def publish(self, _subject: str, payload: bytes, reply: str = "") -> None:
        self.asked.append(msgspec.json.decode(payload))

    async def send(self, *positions: int, end: int) -> None:
        for position in positions:
            reply = f"$JS.ACK.REQ.feed.1.{position}.{position}.1000.{end - position}"
            await self.feed.receive(Msg(cast(Client, self), subject="req.0", reply=reply, data=b"[]"))

    async def say(self, status: str, words: str = "") -> None:
        subject, headers = f"{INBOX}.{len(self.asked)}", {"Status": status, "Description": words}
        await self.feed.receive(Msg(cast(Client, self), subject=subject, headers=headers))


def positions(messages: list[LogMessage]) -> list[int]:
    return [message.position for message in messages]


@pytest.fixture
def server() -> Server:
    return Server()


async def test_what_has_come_of_a_slow_burst_is_handed_out_and_the_rest_follows(server: Server) -> None:
    await server.feed.take(AT_ONCE)
    await server.send(1, 2, end=5)
    first = await server.feed.take(AT_ONCE)
    waiting = server.feed.waiting
    await server.send(3, end=5)
    second = await server.feed.take(AT_ONCE)
    nothing = await server.feed.take(AT_ONCE)
    await server.send(4, 5, end=5)
    await server.say("404")
    last = await server.feed.take(PATIENTLY)

    assert [positions(messages) for messages in (first, second, nothing, last)] == [[1, 2], [3], [], [4, 5]]
    assert waiting and not server.feed.waiting
    assert len(server.asked) == 1


async def test_a_burst_that_came_while_its_reader_worked_is_handed_out_before_more_is_asked_for(
    server: Server,
) -> None:
    await server.feed.take(AT_ONCE)
    await server.send(1, end=4)
    await server.say("409", "Message Size Exceeds MaxBytes")
    assert positions(await server.feed.take(PATIENTLY)) == [1]
    await server.send(2, 3, end=4)
    await server.say("409", "Message Size Exceeds MaxBytes")

    assert positions(await server.feed.take(PATIENTLY)) == [2, 3]
    assert len(server.asked) == 3


async def test_a_burst_that_is_cut_after_all_that_came_was_handed_out_goes_on(server: Server) -> None:
    await server.feed.take(AT_ONCE)
    await server.send(1, end=2)
    await server.feed.take(AT_ONCE)
    await server.say("409", "Message Size Exceeds MaxBytes")
    await server.feed.take(AT_ONCE)

    assert len(server.asked) == 2


async def test_a_burst_that_is_cut_before_anything_came_breaks_the_feed(server: Server) -> None:
    await server.feed.take(AT_ONCE)
    await server.say("409", "Consumer Deleted")

    with pytest.raises(FeedBroken, match="Consumer Deleted"):
        await server.feed.take(PATIENTLY)
