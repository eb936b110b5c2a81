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

import structlog
from redis.asyncio import Redis

from adapters.limit_script import LimitScript
from adapters.local_limits import LocalLimits
from adapters.spend_seeds import SpendSeeds
from adapters.untold_limits import Ended, Rules, Running
from adapters.valkey_scripts import MAX_BATCH, TIMEOUT_S, ValkeyAway
from domain.errors import Unavailable
from domain.ids import RequestId
from domain.limit_book import NO_SEEDS
from domain.limits import Demand, Rule, SpentSince, Unseeded, Verdict

PAUSE_S = 0.5
"""Between two attempts to reach a Valkey that is away."""
ATTEMPTS = 3
MAX_RUNNING = 100_000

logger = structlog.get_logger()


class ValkeyLimiter:
    """A `Limiter`. Close it before the client. `workers` is how many processes admit requests."""

    def __init__(
        self,
        client: Redis,
        spent_since: SpentSince,
        *,
        worker: str,
        workers: int,
        clock_ms: Callable[[], int],
        timeout_s: float = TIMEOUT_S,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._script = LimitScript(client, timeout_s=timeout_s)
        self._seeds = SpendSeeds(spent_since)
        self._local = LocalLimits(self._seeds, workers, clock_ms)
        self._worker = worker
        self._clock_ms = clock_ms
        self._pause_s = pause_s
        self._running: dict[RequestId, None] = {}
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
        verdict = await self._decide(rules, demand)
        if verdict.allowed:
            self._note(demand.request_id)
        return verdict

    async def finish(self, rules: Sequence[Rule], request_id: RequestId, tokens: int, nanos: int) -> None:
        rules = tuple(rules)
        if not rules:
            return
        self._running.pop(request_id, None)
        if not (self.degraded or self._local.holds(request_id)):
            try:
                await self._script.finish(rules, request_id, tokens, nanos)
            except ValkeyAway as away:
                self._leave(away)
            else:
                return
        self._local.finish(Ended(rules, request_id, tokens, nanos))

    async def touch(self, rules: Sequence[Rule], request_id: RequestId) -> None:
        rules = tuple(rules)
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
        await self._script.aclose()

    async def _decide(self, rules: Rules, demand: Demand) -> Verdict:
        ident, doubtful = demand.request_id, False
        for _ in range(ATTEMPTS):
            if not self.degraded:
                try:
                    return await self._ask(rules, demand)
                except ValkeyAway as away:
                    self._leave(away)
                    doubtful = True
                    if ident not in self._running:
                        self._local.untold.end(Ended(rules, ident, 0, 0))  # it may hold there what is refused here
            await self._local.prepare(rules)
            if self.degraded:
                return self._local.admit(rules, demand, asked=doubtful or ident in self._running)
            if doubtful:
                break
        raise Unavailable("The limits cannot be checked just now; try again shortly.")

    async def _ask(self, rules: Rules, demand: Demand) -> Verdict:
        seeds: Mapping[Rule, tuple[int, int]] = NO_SEEDS
        for _ in range(ATTEMPTS):
            answer = await self._script.admit(rules, demand, seeds)
            if not isinstance(answer, Unseeded):
                for rule, used_nanos, start_ms in answer.used:
                    self._local.hear(rule, used_nanos, start_ms)
                return answer.verdict
            seeds = await self._seeds.of(answer.missing)
        raise Unavailable("What was spent so far is not known just now; try again shortly.")

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
            untold.close_used(f"{self._worker}:{self._clock_ms()}", MAX_BATCH)
            await self._tell_ended(untold.some_ended(MAX_BATCH))

    async def _tell_running(self, running: Sequence[Running]) -> None:
        """Whatever ends meanwhile is told afterwards."""
        try:
            await asyncio.gather(*(self._script.adopt(one.rules, one.demand) for one in running))
        except BaseException:
            self._local.untold.put_back(running)
            raise

    async def _tell_ended(self, ended: Sequence[Ended]) -> None:
        await asyncio.gather(*(self._script.finish(e.rules, e.request_id, e.tokens, e.nanos) for e in ended))
        self._local.untold.told(ended)
