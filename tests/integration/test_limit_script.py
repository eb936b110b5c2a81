"""The script in a real Valkey means what `LimitBook` means, on any sequence of steps and at any time."""

import uuid
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.endpoints import ServiceEndpoints
from adapters.limit_script import LimitScript
from domain.ids import RequestId
from domain.limit_book import LimitBook
from domain.limits import DAY_MS, MINUTE_MS, SECOND_MS, Rule, Unseeded
from tests.limits import (
    NOW_MS,
    SOME_MINUTES,
    Operation,
    Step,
    Steps,
    asked,
    connected,
    decided,
    demand,
    rule,
    scripts_on,
    step_lists,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def script(servers: ServiceEndpoints) -> AsyncIterator[LimitScript]:
    async with scripts_on(servers.redis) as scripts:
        yield LimitScript(scripts)


SLOTS = rule("concurrent", "none", 3)
TOKENS = rule("tokens", "day", 70)
TEN_MINUTES = 10 * MINUTE_MS
TO_MIDNIGHT_MS = 10 * SECOND_MS - 500
SPEND = rule("spend", "day", 60)
ONE = rule("tokens", "minute", 5)
TWO = rule("tokens", "day", 10)


def step(operation: Operation, request: int, after_ms: int = 0, *rules: Rule) -> Step:
    return Step(operation, after_ms, rules or (SLOTS, TOKENS), request, 5, 0, 0)


class Both:
    """The same steps into the book and the script, under a name of their own."""

    def __init__(self, script: LimitScript) -> None:
        self.script = script
        self.book = LimitBook()
        self.run = uuid.uuid4().hex
        self.now_ms = NOW_MS

    def own(self, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return tuple(msgspec.structs.replace(one, subject=f"{self.run}/{one.subject}") for one in rules)

    async def take(self, step: Step) -> None:
        self.now_ms += step.after_ms
        rules, ident = self.own(step.rules), RequestId(f"{self.run}/{step.request}")
        if step.operation == "admit":
            await self.admit(rules, ident, step)
        elif step.operation == "adopt":
            self.book.adopt(rules, demand(ident, step.tokens, step.nanos), self.now_ms)
            await self.script.adopt(rules, demand(ident, step.tokens, step.nanos), self.now_ms)
        elif step.operation == "finish":
            self.book.finish(rules, ident, step.tokens, step.nanos, self.now_ms)
            await self.script.finish(rules, ident, step.tokens, step.nanos, self.now_ms)
        else:
            self.book.touch(rules, ident, self.now_ms)
            await self.script.touch(rules, ident, self.now_ms)

    async def admit(self, rules: tuple[Rule, ...], ident: RequestId, step: Step) -> None:
        wanted = demand(ident, step.tokens, step.nanos)
        said, answer = (
            self.book.admit(rules, wanted, self.now_ms),
            await asked(self.script, rules, wanted, now_ms=self.now_ms),
        )
        assert (answer if isinstance(answer, Unseeded) else answer.verdict) == said
        if isinstance(said, Unseeded):
            seeds = {one: (step.spent, start_ms) for one, start_ms in said.missing}
            said = self.book.admit(rules, wanted, self.now_ms, seeds)
            answer = await asked(self.script, rules, wanted, seeds, self.now_ms)
            assert not isinstance(answer, Unseeded)
            assert answer.verdict == said


async def agree_on(script: LimitScript, steps: Steps) -> None:
    both = Both(script)
    for step in steps:
        await both.take(step)


@pytest.mark.parametrize(
    "steps",
    [
        [step("finish", 1), step("finish", 1, 110 * SECOND_MS), step("admit", 2)],
        [step("finish", 1), step("finish", 1, 130 * SECOND_MS), step("admit", 2)],
        [step("admit", 1), step("touch", 1, TEN_MINUTES, SLOTS), step("finish", 1, TEN_MINUTES), step("admit", 2)],
        [step("admit", 1), step("touch", 1, TEN_MINUTES, SLOTS), step("touch", 1, TEN_MINUTES), step("admit", 2)],
        [step("admit", 1), step("touch", 1, TEN_MINUTES, TOKENS), step("touch", 1, TEN_MINUTES), step("admit", 2)],
        [step("admit", 1, 0, TOKENS), step("admit", 1, TEN_MINUTES), step("admit", 1, TEN_MINUTES)],
        [step("admit", 1), step("touch", 1, TEN_MINUTES), step("finish", 1), step("admit", 2)],
        [step("admit", 1), step("touch", 1), step("touch", 1), step("finish", 1), step("admit", 2)],
        [step("admit", 1, 0, ONE), step("admit", 2, 60 * SECOND_MS, ONE), step("admit", 2, SECOND_MS, ONE)],
        [
            step("admit", 1, 0, rule("tokens", "minute", 9)),
            step("finish", 1, 61 * SECOND_MS, rule("tokens", "minute", 9)),
            step("admit", 2, 0, rule("tokens", "minute", 9)),
        ],
        [step("admit", 1, 0, TWO), step("finish", 1, 0, TWO), step("admit", 2, 0, TWO), step("admit", 3, 0, TWO)],
    ],
    ids=[
        "ended twice",
        "ended twice, long apart",
        "part put off, ended",
        "slot put off",
        "tokens put off",
        "given up before its slot",
        "put off, ended",
        "put off at once, ended",
        "a minute that is over in a second",
        "ended after its minute",
        "room when another ends",
    ],
)
async def test_they_agree_on_what_chance_rarely_meets(script: LimitScript, steps: Steps) -> None:
    await agree_on(script, [step("touch", 0, MINUTE_MS), *steps])


@pytest.mark.parametrize("after_ms", [TO_MIDNIGHT_MS - 1, TO_MIDNIGHT_MS, TO_MIDNIGHT_MS + 1])
async def test_they_agree_on_what_ends_about_midnight(script: LimitScript, after_ms: int) -> None:
    await agree_on(script, [step("admit", 1), step("finish", 1, after_ms), step("admit", 2), step("admit", 1)])
    await agree_on(script, [step("admit", 1), step("touch", 1, after_ms), step("finish", 1), step("admit", 2)])


async def test_what_was_spent_in_another_window_is_no_seed(script: LimitScript) -> None:
    one = msgspec.structs.replace(SPEND, subject=uuid.uuid4().hex)
    wanted = demand(f"{one.subject}/r", 0, 1)
    said = await asked(script, (one,), wanted, now_ms=NOW_MS)
    assert isinstance(said, Unseeded)
    ((_, start_ms),) = said.missing

    again = await asked(script, (one,), wanted, {one: (1, start_ms - DAY_MS)}, NOW_MS)

    assert again == said


@settings(max_examples=300, deadline=None)
@given(steps=step_lists())
async def test_the_script_and_the_book_agree(script: LimitScript, steps: Steps) -> None:
    await agree_on(script, steps)


@settings(max_examples=300, deadline=None)
@given(steps=step_lists(SOME_MINUTES))
async def test_they_agree_on_what_is_put_off_and_what_is_given_up(script: LimitScript, steps: Steps) -> None:
    await agree_on(script, steps)


@settings(max_examples=200, deadline=None)
@given(now_ms=st.integers(DAY_MS, 300 * 366 * DAY_MS))
async def test_they_agree_on_the_calendar(script: LimitScript, now_ms: int) -> None:
    both = Both(script)
    both.now_ms = now_ms
    await both.take(Step("admit", 0, (rule("spend", "day", 9), rule("spend", "month", 9, "s2")), 0, 0, 1, 1))


@pytest.mark.parametrize("after_ms", [0, 2 * SECOND_MS])
async def test_a_counter_that_was_lost_while_a_request_ran_is_not_below_zero_at_its_end(
    servers: ServiceEndpoints, script: LimitScript, after_ms: int
) -> None:
    one = rule("tokens", "minute", 70, uuid.uuid4().hex)
    ident, ends_ms = f"{one.subject}/r", NOW_MS + after_ms
    await asked(script, (one,), demand(ident, 50), now_ms=NOW_MS)
    async with connected(servers.redis) as client:
        (key,) = [key async for key in client.scan_iter(match=f"*{one.counter}")]
        await client.delete(key)
    await script.finish((one,), RequestId(ident), 10, 0, ends_ms)

    answer = await asked(script, (one,), demand(f"{one.subject}/next", 20), now_ms=ends_ms)

    assert decided(answer).states[0].remaining == 50
