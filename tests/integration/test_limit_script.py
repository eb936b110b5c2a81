"""The script in a real Valkey means what `LimitBook` means, on any sequence of steps and at any time."""

import uuid
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from redis.asyncio import Redis

from adapters.endpoints import ServiceEndpoints
from adapters.limit_script import LimitScript
from domain.ids import RequestId
from domain.limit_book import LimitBook
from domain.limits import Rule, Unseeded, Verdict
from tests.limits import NOW_MS, PATIENT_S, STEPS, Step, Steps, connected, demand

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def valkey(servers: ServiceEndpoints) -> AsyncIterator[Redis]:
    async with connected(servers.redis) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def script(valkey: Redis) -> AsyncIterator[LimitScript]:
    script = LimitScript(valkey, timeout_s=PATIENT_S)
    yield script
    await script.aclose()


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
        asked = demand(ident, step.tokens, step.nanos)
        said, answered = self.book.admit(rules, asked, self.now_ms), await self.asked(rules, ident, step)
        assert answered == said
        if isinstance(said, Unseeded):
            seeds = {one: (step.spent, start_ms) for one, start_ms in said.missing}
            said = self.book.admit(rules, asked, self.now_ms, seeds)
            answer = await self.script.admit(rules, asked, seeds, self.now_ms)
            assert not isinstance(answer, Unseeded)
            assert answer.verdict == said

    async def asked(self, rules: tuple[Rule, ...], ident: RequestId, step: Step) -> Verdict | Unseeded:
        answer = await self.script.admit(rules, demand(ident, step.tokens, step.nanos), now_ms=self.now_ms)
        return answer if isinstance(answer, Unseeded) else answer.verdict


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_the_script_and_the_book_agree(script: LimitScript, steps: Steps) -> None:
    both = Both(script)
    for step in steps:
        await both.take(step)
