"""Who runs settlement has just been away itself, or just begun: it gives the workers time before it calls one dead."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import msgspec
import pytest

from api.background import running
from api.settlement_runner import SettlementRunner
from commands.settle_usage import GRACE
from commands.store import EventStore
from domain.events import Envelope
from domain.ports import LogMessage
from domain.request import RequestAbandoned
from tests.money import AT, give_credit
from tests.settling import CREDIT, DEAD_AFTER_S, SettlingHouse

PATIENCE_S = 10.0
A_FEW_TICKS_S = 1.0


class Feed:
    def __init__(self, messages: list[list[Envelope]], after: int) -> None:
        self._messages = messages
        self._told = after

    @property
    def waiting(self) -> bool:
        return self._told < len(self._messages)

    async def take(self, timeout_s: float) -> list[LogMessage]:
        if not self.waiting:
            await asyncio.sleep(timeout_s)
            return []
        self._told += 1
        raw = msgspec.json.encode(self._messages[self._told - 1])
        return [LogMessage("REQ", self._told, "req.0", AT, raw)]


class Reader:
    """Of the house's own request log."""

    def __init__(self, house: SettlingHouse) -> None:
        self._messages = house.requests.messages

    async def last_position(self, stream: str) -> int:
        return len(self._messages)

    async def time_at(self, stream: str, position: int) -> datetime | None:
        return AT

    @asynccontextmanager
    async def open(self, stream: str, after: int) -> AsyncGenerator[Feed]:
        yield Feed(self._messages, after)


@pytest.fixture
async def house() -> SettlingHouse:
    """A request runs, and then nobody reaches the log for longer than its lease lives."""
    house = SettlingHouse()
    await give_credit(EventStore(house.log, "/tests"), CREDIT)
    await house.begin("r")
    house.clock.turn(DEAD_AFTER_S)
    return house


def abandoned(house: SettlingHouse) -> list[str]:
    return [event.request_id for event in house.requests.events if isinstance(event, RequestAbandoned)]


def runner(house: SettlingHouse) -> SettlementRunner:
    return SettlementRunner(house.settle, house.progress, Reader(house), house.clock)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110  (nobody tells)
            await asyncio.sleep(0.02)


async def test_an_outage_is_no_sign_that_a_worker_died(house: SettlingHouse) -> None:
    async with running(runner(house).run()):
        await until(lambda: house.settle.position == 1)
        await asyncio.sleep(A_FEW_TICKS_S)
        assert abandoned(house) == []

        await house.leases.tend()
        house.clock.turn(GRACE.total_seconds() + 1)
        await asyncio.sleep(A_FEW_TICKS_S)

    assert abandoned(house) == []


async def test_a_worker_that_does_not_come_back_after_an_outage_is_dead(house: SettlingHouse) -> None:
    async with running(runner(house).run()):
        await until(lambda: house.settle.position == 1)
        house.clock.turn((GRACE + timedelta(seconds=1)).total_seconds())

        await until(lambda: abandoned(house) == ["r"])
