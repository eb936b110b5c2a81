"""One of several processes that want more than a limit allows. Reads `Orders` on standard input, and says how many of
its requests each rule let in."""

import asyncio
import sys
import time

import msgspec

from adapters.endpoints import RedisEndpoint
from adapters.valkey_limiter import ValkeyLimiter
from domain.limits import Rule
from tests.limits import Books, demand, scripts_on


class Orders(msgspec.Struct, frozen=True):
    """Each of `attempts` wants `amount`, as tokens and as nano-USD, and ends using as much."""

    valkey: RedisEndpoint
    worker: str
    rules: list[Rule]
    attempts: int
    amount: int
    spent: dict[str, int]


async def hammer(orders: Orders) -> list[int]:
    async with scripts_on(orders.valkey) as scripts:
        limiter = ValkeyLimiter(
            scripts,
            Books(orders.spent),
            worker=orders.worker,
            workers=4,
            clock_ms=lambda: time.time_ns() // 1_000_000,
        )
        admitted: list[int] = []
        for rule in orders.rules:
            wanted = [
                demand(f"{orders.worker}/{rule.counter}/{index}", orders.amount, orders.amount)
                for index in range(orders.attempts)
            ]
            verdicts = await asyncio.gather(*(limiter.admit([rule], one) for one in wanted))
            assert not any(verdict.degraded for verdict in verdicts)
            admitted.append(sum(verdict.allowed for verdict in verdicts))
            for one, verdict in zip(wanted, verdicts, strict=True):
                if verdict.allowed and rule.kind != "concurrent":
                    limiter.finish([rule], one.request_id, orders.amount, orders.amount)
        await limiter.aclose()
        return admitted


if __name__ == "__main__":
    told = msgspec.json.decode(sys.stdin.buffer.read(), type=Orders)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(hammer(told))))
