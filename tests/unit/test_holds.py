"""What running requests hold: until they give it back, for however long they run, and never after."""

import asyncio
import gc
import weakref

import pytest

from commands import holds as module
from commands.holds import TEND_EVERY_S, TOUCH_AFTER_S, Hold, Holds
from domain.errors import Busy, Unavailable
from domain.limits import MINUTE_MS, SECOND_MS, Demand, Rule, Verdict
from tests.limits import NOW_MS, BookLimiter, demand, rule

SLOTS = rule("concurrent", "none", 2)
TOKENS = rule("tokens", "day", 100)
BOTH = (SLOTS, TOKENS)
MORNING_MS = NOW_MS + 6 * 60 * MINUTE_MS


class Time:
    """The limiter's and the process's, which go together."""

    def __init__(self) -> None:
        self.limiter = BookLimiter()
        self.limiter.now_ms = MORNING_MS
        self.holds = Holds(self.limiter, self.now_s)

    def now_s(self) -> float:
        return (self.limiter.now_ms - MORNING_MS) / SECOND_MS

    async def pass_by(self, minutes: int, *, sweeping: bool = True) -> None:
        until_ms = self.limiter.now_ms + minutes * MINUTE_MS
        while self.limiter.now_ms < until_ms:
            self.limiter.now_ms += int(TEND_EVERY_S * SECOND_MS)
            if sweeping:
                await self.holds.tend()

    async def held(self, asked: Demand, *rules: Rule) -> Hold:
        held = await self.holds.take(rules, asked)
        assert isinstance(held, Hold)
        return held

    async def left(self) -> list[int]:
        """Slots and tokens."""
        return [await self.limiter.left(one) for one in BOTH]


async def test_what_is_held_is_given_back_as_what_was_used() -> None:
    time = Time()
    held = await time.held(demand("r1", 30), *BOTH)
    assert await time.left() == [1, 70]

    held.ended(12, 0)

    assert await time.left() == [2, 88]


async def test_a_refusal_holds_nothing_and_says_why() -> None:
    time = Time()
    await time.held(demand("r1", 90), *BOTH)

    refused = await time.holds.take(BOTH, demand("r2", 20))

    assert isinstance(refused, Verdict)
    assert refused.binding == TOKENS
    assert await time.left() == [1, 10]


async def test_giving_back_without_waiting_is_the_same_a_moment_later() -> None:
    time = Time()
    held = await time.held(demand("r1", 30), *BOTH)

    held.ended(5, 0)

    assert await time.left() == [2, 95]


async def test_tokens_that_nobody_knows_stay_at_what_was_reserved() -> None:
    time = Time()
    held = await time.held(demand("r1", 30), *BOTH)

    held.ended(None, 0)

    assert await time.left() == [2, 70]


async def test_only_the_first_end_counts() -> None:
    time = Time()
    held = await time.held(demand("r1", 30), *BOTH)

    held.ended(5, 0)
    held.ended(50, 0)
    held.ended(70, 0)

    assert time.limiter.finished == [("r1", 5, 0)]


async def test_a_stream_of_forty_minutes_keeps_its_slot_and_its_reservation() -> None:
    time = Time()
    await time.held(demand("r1", 30), *BOTH)

    await time.pass_by(40)

    assert await time.left() == [1, 70]


async def test_without_a_sweep_a_hold_is_given_up() -> None:
    time = Time()
    await time.held(demand("r1", 30), *BOTH)

    await time.pass_by(20, sweeping=False)

    assert await time.left() == [2, 100]


async def test_what_has_ended_is_not_put_off_any_more() -> None:
    time = Time()
    held = await time.held(demand("r1", 30), *BOTH)
    await time.pass_by(10)

    held.ended(30, 0)
    await time.pass_by(10)

    assert await time.left() == [2, 70]


async def test_each_hold_is_put_off_when_it_is_due_and_not_at_every_sweep() -> None:
    time = Time()
    touched: list[tuple[str, float]] = []
    touch = time.limiter.touch

    async def counted(rules: tuple[Rule, ...], ident: str) -> None:
        touched.append((ident, time.now_s()))
        await touch(rules, ident)  # type: ignore[arg-type]

    time.limiter.touch = counted  # type: ignore[method-assign, assignment]
    await time.held(demand("early"), SLOTS)
    await time.pass_by(1)
    await time.held(demand("late"), SLOTS)

    await time.pass_by(6)

    assert touched == [("early", TOUCH_AFTER_S), ("late", 60.0 + TOUCH_AFTER_S)]


async def test_who_is_cancelled_while_it_asks_holds_nothing() -> None:
    time = Time()
    time.limiter.silent = True
    asking = asyncio.create_task(time.holds.take(BOTH, demand("r1", 30)))
    for _ in range(5):
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait({asking})
    time.limiter.silent = False

    assert asking.cancelled()
    assert await time.left() == [2, 100]
    assert isinstance(await time.limiter.admit(BOTH, demand("r1", 30)), Verdict)
    assert await time.left() == [2, 100], "what comes late holds nothing"


async def test_an_error_of_the_limiter_is_passed_on_and_leaves_nothing_open() -> None:
    time = Time()
    time.limiter.fails = Unavailable("The books do not answer.")

    with pytest.raises(Unavailable):
        await time.holds.take(BOTH, demand("r1", 30))
    time.limiter.fails = None

    assert not time.holds.close(demand("r1").request_id)


async def test_there_is_an_end_to_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OPEN", 1)
    time = Time()
    held = await time.held(demand("r1"), SLOTS)

    with pytest.raises(Busy):
        await time.holds.take((SLOTS,), demand("r2"))
    held.ended(0, 0)

    await time.held(demand("r3"), SLOTS)


class Kept(list[Rule]):
    """Rules that can be watched."""


async def test_a_hold_that_ended_is_gone_at_once() -> None:
    time = Time()
    rules = Kept([SLOTS])
    gone = weakref.ref(rules)
    gc.disable()
    try:
        held = await time.holds.take(rules, demand("r1"))
        await time.pass_by(5)
        assert isinstance(held, Hold)
        held.ended(0, 0)
        del held, rules
        assert gone() is None
    finally:
        gc.enable()
