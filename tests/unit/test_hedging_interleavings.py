"""Two calls side by side, in every order in which things can happen to them."""

import asyncio
from collections.abc import Callable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.pricing import ceiling_nanos
from domain.request import RequestCompleted, RequestEnd
from tests.answering import RATES
from tests.failing_over import INPUT_BOUND, OUTPUT, Scripted
from tests.hedging import TURNS, HedgeHouse, gated, good, turn
from tests.routing import BROKEN, DOWN

CEILING = ceiling_nanos(INPUT_BOUND, OUTPUT, RATES)
ENDINGS: dict[str, Callable[[bool], Scripted]] = {"answers": good, "fails": lambda _: DOWN, "breaks": lambda _: BROKEN}
HAPPENINGS = [("due", "")] + [(name, how) for name in "ab" for how in ENDINGS] + [("leave", "")]
DEAREST_NANOS = 2 * (20 + 4 * 4)
"""An estimate of all that one of them, the one of twice the price, delivers."""
PLAYS = st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, TURNS)), max_size=5)


@settings(deadline=None, max_examples=250)
@example([(("due", ""), 0), (("a", "answers"), 1), (("b", "answers"), 0)], True, 10)
@example([(("due", ""), 3), (("a", "fails"), 1), (("leave", ""), 0)], False, 10)
@given(PLAYS, st.booleans(), st.sampled_from([1, 2, 10]))
def test_however_two_calls_meet_there_is_one_end_one_charge_and_nothing_held(
    play: list[tuple[tuple[str, str], int]], stream: bool, ceilings: int
) -> None:
    async def run() -> None:
        (line, one), (company, other) = gated(stream, "a"), gated(stream, "b")
        gates = {"a": one, "b": other}
        house = HedgeHouse(line, company, times={"b": 2}, attempts_max=2, is_due=False)
        running = await house.admit(stream=stream, credit_nanos=ceilings * CEILING)
        task = asyncio.create_task(house.ask_for(running, stream=stream))
        await turn(1)
        for (who, how), turns in play:
            if who == "due":
                house.due.set()
            elif who == "leave":
                task.cancel()
            else:
                gates[who].give(ENDINGS[how](stream))
            await turn(turns)
        await turn(TURNS)
        is_gone = not task.done() or task.cancelled()
        await house.leave(task)
        _check(house, await house.closed(), None if is_gone else task)

    asyncio.run(run())


def _check(house: HedgeHouse, end: RequestEnd, told: "asyncio.Task[Exception | None] | None") -> None:
    """`told` None: the client left."""
    calls = sum(len(line.calls) for line in house.lines.values())
    lost = {attempt.deployment for attempt in house.attempts if attempt.error_kind == "hedged"}
    assert len(house.breakers.told) + len(house.breakers.left) == calls <= min(2, end.attempts)
    assert house.drawn <= 1.0
    assert len(lost) <= end.hedged
    assert lost <= set(house.breakers.left)
    assert end.cost_nanos <= DEAREST_NANOS
    if told is None:
        return
    error = told.result()
    assert isinstance(end, RequestCompleted) == (error is None)
    assert error in (None, DOWN, BROKEN)
    assert end.cost_nanos == (0 if error else {"a": 30, "b": 60}[end.deployment])
