"""Limits that hold across workers, counted in Valkey; on this worker's share while it is away.

The first call that fails or takes too long makes Valkey away. Nobody waits for it then: now and again one task in the
background tries to tell it what happened meanwhile, and once it knows all, it counts again. What that costs:

- Requests, tokens and slots go by shares, so the minute in which Valkey goes may see twice the limit; the requests a
  day of that time stay untold.
- Spend goes by shares of what was left when this worker last heard. Where that is unknown the books are asked, and
  without them the request is refused. Until every worker is back, each may be out by its own share.
- A Valkey that lost its memory asks the books for spend and begins anew with the rest; what ran is counted at its end.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count

import structlog

from adapters.limit_script import LimitScript
from adapters.local_limits import LocalLimits
from adapters.spend_seeds import SpendSeeds
from adapters.untold_limits import Ended, Rules, Running
from adapters.valkey_scripts import MAX_BATCH, BatchedScripts, ValkeyAway
from domain.errors import Busy, Unavailable
from domain.ids import RequestId
from domain.limit_book import NO_SEEDS
from domain.limits import Demand, Rule, SpentSince, Unseeded, Verdict

PAUSE_S = 0.5
"""Between two attempts to reach a Valkey that is away."""
ATTEMPTS = 3
MAX_RUNNING = 100_000

logger = structlog.get_logger()


class ValkeyLimiter:
    """A `Limiter`. Close it before the scripts. `workers` is how many processes admit requests."""

    def __init__(
        self,
        scripts: BatchedScripts,
        spent_since: SpentSince,
        *,
        worker: str,
        workers: int,
        clock_ms: Callable[[], int],
        pause_s: float = PAUSE_S,
    ) -> None:
        self._script = LimitScript(scripts)
        self._seeds = SpendSeeds(spent_since)
        self._local = LocalLimits(self._seeds, workers, clock_ms)
        self._worker = worker
        self._clock_ms = clock_ms
        self._pause_s = pause_s
        self._running: dict[RequestId, None] = {}
        self._rounds = count()
        self._returning: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def degraded(self) -> bool:
        """Whether Valkey is away."""
        return self._returning is not None

    async def admit(self, rules: Sequence[Rule], demand: Demand) -> Verdict:
        rules = tuple(rules)
        if not rules:
            return Verdict(allowed=True)
        said = await self._ask(rules, demand) if self._returning is None else None
        verdict = said if isinstance(said, Verdict) else await self._decide(rules, demand, said)
        if verdict.allowed:
            self._note(demand.request_id)
        return verdict

    def finish(self, rules: Sequence[Rule], request_id: RequestId, tokens: int, nanos: int) -> None:
        if not rules:
            return
        self._running.pop(request_id, None)
        ended = Ended(tuple(rules), request_id, tokens, nanos)
        if self._returning is not None or self._local.holds(request_id):
            self._local.finish(ended)
        else:
            told = self._script.finish(ended.rules, request_id, tokens, nanos)
            told.then(partial(self._finish_here_if_away, ended))

    async def touch(self, rules: Sequence[Rule], request_id: RequestId) -> None:
        rules = tuple(rules)
        with suppress(Busy):
            self._local.touch(rules, request_id)
        if rules and not self.degraded:
            try:
                await self._script.touch(rules, request_id)
            except ValkeyAway as away:
                self._leave(away)

    async def aclose(self) -> None:
        self._closed = True
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.wait({self._returning})

    async def _ask(
        self, rules: Rules, demand: Demand, seeds: Mapping[Rule, tuple[int, int]] = NO_SEEDS
    ) -> Verdict | Unseeded | ValkeyAway:
        try:
            answer = self._script.answer(rules, await self._script.admit(rules, demand, seeds))
        except ValkeyAway as away:
            return away
        if isinstance(answer, Unseeded):
            return answer
        for state in answer.spend:
            self._local.hear(state.rule, state.rule.limit - state.remaining, answer.at_ms)
        return answer.verdict

    async def _decide(self, rules: Rules, demand: Demand, said: Verdict | Unseeded | ValkeyAway | None) -> Verdict:
        """`said`: by Valkey, unless it was away already."""
        if said is None:
            await self._local.prepare(rules)
            if self.degraded:
                return self._local.admit(rules, demand, asked=demand.request_id in self._running)
            said = await self._ask(rules, demand)
        if isinstance(said, Unseeded):
            said = await self._ask_with_seeds(rules, demand, said)
        if isinstance(said, Verdict):
            return said
        self._doubt(rules, demand, said)
        await self._local.prepare(rules)
        if not self.degraded:
            raise Unavailable("The limits cannot be checked just now; try again shortly.")
        return self._local.admit(rules, demand, asked=True)

    async def _ask_with_seeds(self, rules: Rules, demand: Demand, said: Unseeded) -> Verdict | ValkeyAway:
        for _ in range(ATTEMPTS - 1):
            again = await self._ask(rules, demand, await self._seeds.of(said.missing))
            if not isinstance(again, Unseeded):
                return again
            said = again
        raise Unavailable("What was spent so far is not known just now; try again shortly.")

    def _doubt(self, rules: Rules, demand: Demand, away: ValkeyAway) -> None:
        """It may hold there what is refused here."""
        self._leave(away)
        if demand.request_id not in self._running:
            self._local.untold.end(Ended(rules, demand.request_id, 0, 0))

    def _finish_here_if_away(self, ended: Ended, answer: object) -> None:
        if isinstance(answer, ValkeyAway):
            self._leave(answer)
            self._local.finish(ended)

    def _note(self, request_id: RequestId) -> None:
        if len(self._running) >= MAX_RUNNING:
            del self._running[next(iter(self._running))]
        self._running[request_id] = None

    def _leave(self, away: ValkeyAway) -> None:
        if self._returning is None and not self._closed:
            logger.warning("limits_degraded", reason=str(away))
            self._returning = asyncio.create_task(self._return())

    async def _return(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._pause_s)
                try:
                    await self._tell_all()
                except ValkeyAway:
                    continue
                break
        finally:
            self._returning = None
        self._local.forget()
        logger.info("limits_shared_again")

    async def _tell_all(self) -> None:
        """Returns in the very step in which nothing is left to tell. Raises ValkeyAway."""
        untold = self._local.untold
        await self._script.finish((), RequestId(self._worker), 0, 0)
        while untold:
            await self._tell_running(untold.take_running(MAX_BATCH))
            untold.close_used(f"{self._worker}:{self._clock_ms()}:{next(self._rounds)}", MAX_BATCH)
            await self._tell_ended(untold.some_ended(MAX_BATCH))

    async def _tell_running(self, running: Sequence[Running]) -> None:
        """Whatever ends meanwhile is told afterwards."""
        try:
            for told in [self._script.adopt(one.rules, one.demand) for one in running]:
                await told
        except BaseException:
            self._local.untold.put_back(running)
            raise

    async def _tell_ended(self, ended: Sequence[Ended]) -> None:
        for told in [self._script.finish(one.rules, one.request_id, one.tokens, one.nanos) for one in ended]:
            await told
        self._local.untold.told(ended)
