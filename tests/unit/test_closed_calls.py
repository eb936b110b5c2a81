"""What nobody reads any more is closed at once, and a failure holds nothing of the call that it came from."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import aclosing

import pytest

from domain.errors import ProviderTimeout
from domain.upstream import ProviderCall, Reply, ReplyPiece
from tests.answering import piece, used
from tests.failing_over import GOOD_STREAM, Gate, Line, LineCall, RouteHouse, Scripted
from tests.hedging import TURNS, HedgeHouse, gated, good, turn
from tests.routing import BROKEN, DOWN, TIMEOUT, refused

BOTH = pytest.mark.parametrize("stream", [False, True])
EITHER = pytest.mark.parametrize("name", ["fast", "m-a"])
"""A route, and a plain model."""


@pytest.fixture(autouse=True)
def nothing_is_collected() -> Generator[None]:
    """As it may be for a long time."""
    gc.disable()
    yield
    gc.enable()


def working(house: RouteHouse) -> dict[str, int]:
    return {name: line.working for name, line in house.lines.items() if line.calls}


@EITHER
async def test_a_stream_that_is_no_longer_read_is_closed_at_once(name: str) -> None:
    house = RouteHouse(Line("a"))
    running = await house.admit(stream=True, name=name)

    async with aclosing(house.handler.stream(running)) as pieces:
        await anext(pieces)
        assert working(house) == {"a": 1}

    assert working(house) == {"a": 0}


async def test_a_stream_that_the_routes_time_cuts_is_closed_before_that_is_told() -> None:
    house = RouteHouse(Line("a"), total_timeout_s=600.0)
    running = await house.admit(stream=True)

    with pytest.raises(ProviderTimeout):
        async for _ in house.handler.stream(running):
            house.now_s += 301.0

    assert working(house) == {"a": 0}


@EITHER
async def test_a_stream_whose_reader_is_cancelled_is_closed_with_it(name: str) -> None:
    house = RouteHouse(Line("a", [*GOOD_STREAM[:2], Gate()]))
    running = await house.admit(stream=True, name=name)

    async def read() -> None:
        async for _ in house.handler.stream(running):
            pass

    task = asyncio.create_task(read())
    await turn(TURNS)
    assert working(house) == {"a": 1}
    task.cancel()
    await asyncio.wait([task])

    assert working(house) == {"a": 0}


async def test_of_two_streams_that_begin_at_once_the_one_that_is_not_read_is_closed_first() -> None:
    (line, one), (company, other) = gated(True, "a"), gated(True, "b")
    house = HedgeHouse(line, company)
    running = await house.admit(stream=True)

    async with aclosing(house.handler.stream(running)) as pieces:
        begun = asyncio.create_task(anext(pieces))
        await turn(TURNS)
        other.give(good(True))
        one.give(good(True))
        await begun

        assert working(house) == {"a": 1, "b": 0}


async def test_a_stream_that_fails_when_it_is_closed_spoils_nothing() -> None:
    class Fragile(LineCall):
        async def stream(self) -> AsyncIterator[ReplyPiece]:
            try:
                async for each in super().stream():
                    yield each
            except GeneratorExit:
                raise BROKEN from None

    class FragileLine(Line):
        def prepare(self, call: ProviderCall) -> LineCall:
            return Fragile(self, call)

    one, other = Gate(), Gate()
    house = HedgeHouse(Line("a", [one, *GOOD_STREAM[1:]]), FragileLine("b", [other, *GOOD_STREAM[1:]]))
    _, task = await house.begin(stream=True)

    other.give(good(True))
    one.give(good(True))

    assert await task is None
    assert (await house.closed()).deployment == "a"


async def test_of_two_streams_that_begin_as_the_client_leaves_both_are_closed() -> None:
    """Their first pieces are given, and nobody has looked yet."""
    (line, one), (company, other) = gated(True, "a"), gated(True, "b")
    house = HedgeHouse(line, company)
    _, task = await house.begin(stream=True)

    other.give(good(True))
    one.give(good(True))
    await turn(1)
    await house.leave(task)

    assert working(house) == {"a": 0, "b": 0}
    await house.closed()


class AnswersWhenCancelled(Gate):
    async def passed(self) -> Scripted:
        try:
            return await super().passed()
        except asyncio.CancelledError:
            return piece(4)


async def test_a_stream_that_begins_after_it_was_given_up_is_closed() -> None:
    house = HedgeHouse(Line("a", [AnswersWhenCancelled(), piece(4)]), Line("b"))

    _, _, error = await house.answer(stream=True)

    assert (error, working(house)) == (None, {"a": 0, "b": 0})


class Secret:
    """Something that a provider's frame holds."""


class Leaky(Line):
    """Fails from a frame that holds a secret: `secrets` are those that are still held by anybody."""

    def __init__(self, name: str, failure: Callable[[], Exception], *, begins: bool = False) -> None:
        super().__init__(name)
        self.failure = failure
        self.begins = begins
        self._secrets = weakref.WeakSet[Secret]()

    @property
    def secrets(self) -> int:
        return len(self._secrets)

    def prepare(self, call: ProviderCall) -> "LeakyCall":
        return LeakyCall(self, call)

    def fail(self) -> None:
        secret = Secret()
        self._secrets.add(secret)
        try:
            raise KeyError(secret)
        except KeyError as cause:
            raise self.failure() from cause


class LeakyCall(LineCall):
    def __init__(self, line: Leaky, call: ProviderCall) -> None:
        super().__init__(line, call)
        self._leaky = line

    async def complete(self) -> Reply:
        self._leaky.calls.append(self._call)
        self._leaky.fail()
        raise AssertionError

    async def stream(self) -> AsyncIterator[ReplyPiece]:
        self._leaky.calls.append(self._call)
        if self._leaky.begins:
            yield piece(4, used(10, 1))
        self._leaky.fail()


FAILURES: list[Callable[[], Exception]] = [lambda: DOWN, lambda: TIMEOUT, lambda: KeyError("adapter bug"), TimeoutError]


@BOTH
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failed_attempt_is_remembered_without_the_frames_that_it_came_through(
    failure: Callable[[], Exception], stream: bool
) -> None:
    """While the next one still works."""
    leaky, gate = Leaky("a", failure), Gate()
    house = RouteHouse(leaky, Line("b", [gate] if stream else gate))
    running = await house.admit(stream=stream)

    async with aclosing(house.handler.stream(running)) as pieces:
        task = asyncio.create_task(anext(pieces) if stream else house.handler.complete(running))  # type: ignore[arg-type]
        await turn(TURNS)

        assert (len(leaky.calls), len(house.lines["b"].calls), leaky.secrets) == (1, 1, 0)
        gate.give(good(stream))
        await task


@BOTH
@EITHER
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failure_that_is_told_holds_nothing_of_the_call(
    failure: Callable[[], Exception], name: str, stream: bool
) -> None:
    leaky = Leaky("a", failure)
    house = RouteHouse(leaky)

    running, _, error = await house.answer(stream=stream, name=name)

    assert error is not None
    assert (len(leaky.calls) > 0, leaky.secrets) == (True, 0)
    assert running.end is not None


@EITHER
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_stream_that_is_cut_holds_nothing_of_the_call(failure: Callable[[], Exception], name: str) -> None:
    leaky = Leaky("a", failure, begins=True)
    house = RouteHouse(leaky)

    _, pieces, error = await house.answer(stream=True, name=name)

    assert (len(pieces), error is not None, leaky.secrets) == (1, True, 0)


@BOTH
async def test_a_failed_call_of_a_plain_model_leaves_nothing_to_the_garbage_collector(stream: bool) -> None:
    house = RouteHouse(Leaky("a", lambda: refused(500)))

    async def fail() -> None:
        _, _, error = await house.answer(stream=stream, name="m-a")
        assert error is not None
        house.requests.events.clear()

    await fail()
    gc.collect()
    await fail()

    assert gc.collect() == 0
