"""Breakers that all workers share through Valkey: what one learns, the others know within a second or two.

The hot path asks this process's memory only. Once a second `sync` tells what happened here and reads what happened
everywhere, in one call of one script. Only who would probe a deployment asks Valkey first, so that one does. With
Valkey away, or too slow, each worker goes on with what it knows.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.local_breakers import LocalBreakers
from domain.breaker import (
    AskProbe,
    Breaker,
    BreakerInput,
    BreakerPolicy,
    CallsEnded,
    Phase,
    after,
    merged,
    phase_at,
)
from domain.breakers import BreakerView, Permit
from domain.errors import AggregatorError

SYNC_EVERY_S = 1.0
WAIT_S = 0.2
"""For one answer, a connection included; the client has a shorter bound for each step of it."""
KEPT_MS = 3_600_000
FURTHEST_CLOCK_MS = 60_000
"""A worker whose clock is further from Valkey's stays alone: its times would open and close for all."""
MOST_NEWS = 50
"""Per deployment, while Valkey is away. What is oldest is dropped; counts are added up and take one place."""
SCRIPT = Path(__file__).with_suffix(".lua")

logger = structlog.get_logger()
_encode = msgspec.json.Encoder().encode
_decode_state = msgspec.json.Decoder(Breaker).decode


class ValkeyBreakers:
    """`clock` is seconds since 1970; `new_probe` makes names that no other worker makes."""

    def __init__(
        self,
        client: Redis,
        policy: BreakerPolicy,
        clock: Callable[[], float],
        new_probe: Callable[[], str],
        *,
        wait_s: float = WAIT_S,
    ) -> None:
        self._client = client
        self._wait_s = wait_s
        self._script = SCRIPT.read_text()
        self._policy = _encode(policy)
        self._local = LocalBreakers(policy, clock, new_probe, self._hear)
        self._news: dict[str, list[BreakerInput]] = {}
        self._was_shared: bool | None = None

    def keep(self, deployments: frozenset[str]) -> None:
        self._local.keep(deployments)
        self._news = {name: news for name, news in self._news.items() if name in deployments}

    def phase(self, deployment: str) -> Phase:
        return self._local.phase(deployment)

    async def admit(self, deployment: str) -> Permit | None:
        permit = self._local.try_admit(deployment)
        if permit is None or not permit.probe:
            return permit
        try:
            return await self._confirmed(permit)
        except BaseException:
            self.given_up(permit)
            raise

    def ended(self, permit: Permit, error: AggregatorError | None, duration_s: float) -> None:
        self._local.ended(permit, error, duration_s)

    def given_up(self, permit: Permit) -> None:
        self._local.given_up(permit)

    def view(self) -> list[BreakerView]:
        return self._local.view()

    async def sync(self) -> None:
        """To be called every SYNC_EVERY_S. Never raises for want of Valkey."""
        names = sorted(self._local.states)
        news, self._news = self._news, {}
        states = await self._tell(names, news) if names else {}
        for name in names:
            if (shared := states.get(name)) and (own := self._local.states.get(name)):
                self._adopt(name, merged(own, shared, self._local.now_ms()))

    async def _confirmed(self, permit: Permit) -> Permit | None:
        """Whether the slot that was taken here is free everywhere. Somebody else may have found out already."""
        name = permit.deployment
        news = {name: [*self._news.pop(name, []), AskProbe(permit.probe)]}
        shared = (await self._tell([name], news)).get(name)
        if shared is None:
            return permit
        self._adopt(name, shared)
        if shared.probe == permit.probe:
            return permit
        return Permit(name) if phase_at(shared, self._local.now_ms()) == "closed" else None

    def _adopt(self, name: str, state: Breaker) -> None:
        """What happened here while the answer was on its way is not in it yet."""
        if name not in self._local.states:
            return
        if state is not self._local.states[name]:
            for told in self._news.get(name, ()):
                state = after(state, told, self._local.policy, self._local.now_ms())
        self._local.states[name] = state

    async def _tell(self, names: Sequence[str], news: dict[str, list[BreakerInput]]) -> dict[str, Breaker]:
        """What all know of these; {} when Valkey does not answer. Then it is told again of what can be said twice."""
        pieces = [_encode(news[name]) if name in news else b"" for name in names]
        keys = [f"agg:{{breakers}}:{name}" for name in names]
        fixed = (self._policy, self._local.now_ms(), FURTHEST_CLOCK_MS, KEPT_MS)
        try:
            async with asyncio.timeout(self._wait_s):
                command = ("EVAL", self._script, len(keys), *keys, *fixed, *pieces)
                answer = cast("list[bytes]", await self._client.execute_command(*command))
        except (RedisError, OSError, TimeoutError) as error:
            self._say(shared=False, reason=str(error) or type(error).__name__)
            self._keep_for_later(news)
            return {}
        self._say(shared=True)
        return _read(names, answer)

    def _keep_for_later(self, news: dict[str, list[BreakerInput]]) -> None:
        for name, pieces in news.items():
            since = self._news.get(name, [])
            again = [told for told in pieces if not isinstance(told, AskProbe | CallsEnded)]
            if name in self._local.states and (kept := [*again, *since][-MOST_NEWS:]):
                self._news[name] = kept

    def _hear(self, deployment: str, told: BreakerInput) -> None:
        news = self._news.setdefault(deployment, [])
        last = news[-1] if news else None
        if isinstance(told, CallsEnded) and isinstance(last, CallsEnded):
            news[-1] = CallsEnded(last.calls + told.calls, last.failed + told.failed, last.slow + told.slow)
            return
        news.append(told)
        del news[:-MOST_NEWS]

    def _say(self, *, shared: bool, reason: str = "") -> None:
        self._local.shared = shared
        if shared != self._was_shared:
            self._was_shared = shared
            if shared:
                logger.info("breakers_shared")
            else:
                logger.warning("breakers_not_shared", reason=reason)


def _read(names: Sequence[str], answer: Sequence[bytes]) -> dict[str, Breaker]:
    """Without those of which nothing is known, or nothing readable."""
    states: dict[str, Breaker] = {}
    for name, text in zip(names, answer, strict=True):
        try:
            if text:
                states[name] = _decode_state(text)
        except msgspec.DecodeError:
            logger.warning("breaker_unreadable", deployment=name)
    return states
