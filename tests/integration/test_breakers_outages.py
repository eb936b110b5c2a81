"""Breakers while Valkey is away, slow, late or forgetful: competitors' bugs, by what went wrong."""

import asyncio
from contextlib import suppress
from typing import cast

import pytest

from adapters.embedded.valkey import ValkeyServer
from adapters.endpoints import RedisEndpoint
from adapters.valkey import open_valkey
from adapters.valkey_breakers import ValkeyBreakers
from domain.breakers import Permit
from tests.breakers import NAMES, POLICY, Clock, fail, synced, workers
from tests.routing import refused
from tests.support import open_directory

NOWHERE = RedisEndpoint(host="127.0.0.1", port=1, password=None)


async def test_without_valkey_each_worker_goes_on_alone() -> None:
    clock = Clock()
    async with workers(NOWHERE, clock) as (one, two):
        fail(one, 4)
        await synced(one, two)
        assert (one.phase("a"), two.phase("a")) == ("open", "closed")
        assert not one.view()[0].shared
        clock.now_s += 5

        permits = [await one.admit("a") for _ in range(3)]

        assert permits[0] and permits[0].probe and permits[1:] == [None, None]
        one.ended(permits[0], None, 0.1)
        assert one.phase("a") == "closed"


async def test_bug_a_slow_cache_is_worse_than_none() -> None:
    """One that accepts and never answers: who calls a healthy deployment does not wait for it at all."""
    served: list[asyncio.Task[None]] = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(cast("asyncio.Task[None]", asyncio.current_task()))
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port: int = silent.sockets[0].getsockname()[1]
    clock = Clock()
    try:
        async with open_valkey(RedisEndpoint(host="127.0.0.1", port=port, password=None)) as client:
            one = ValkeyBreakers(client, POLICY, clock, lambda: "probe")
            one.keep(NAMES)
            asking = one.admit("a")
            with pytest.raises(StopIteration) as at_once:
                asking.send(None)
            assert at_once.value.value == Permit("a")

            fail(one, 4)
            clock.now_s += 5
            async with asyncio.timeout(10):
                await one.sync()
                assert await one.admit("a") is not None
    finally:
        silent.close()
        await asyncio.gather(*served)


async def test_bug_the_cache_was_looked_for_at_start_only() -> None:
    """Away when the workers start, and there later: then they share."""
    with open_directory() as directory:
        server = ValkeyServer(directory / "valkey")
        await server.start()
        where = server.endpoint
        await server.stop()
        async with workers(where, Clock()) as (one, two):
            await synced(one, two)
            assert not one.view()[0].shared

            await server.start()
            try:
                assert server.endpoint == where
                one.ended(Permit("b"), refused(429, retry_after_s=9), 0.1)
                await synced(one, two)
                assert two.phase("b") == "throttled" and two.view()[0].shared
            finally:
                await server.stop()


async def test_bug_a_counter_that_was_lost_counted_as_zero() -> None:
    """Valkey forgot all: an opening that a worker knows of still holds for it."""
    with open_directory() as directory:
        server = ValkeyServer(directory / "valkey")
        await server.start()
        client = open_valkey(server.endpoint)
        try:
            async with workers(server.endpoint, Clock()) as (one, two):
                fail(one, 4)
                await synced(one, two)
                await client.flushall()
                two.ended(Permit("b"), None, 0.1)
                await synced(one, two)

                assert (one.phase("a"), two.phase("a")) == ("open", "open")
        finally:
            await client.aclose()
            await server.stop()


async def test_bug_the_queue_grew_while_the_cache_was_away() -> None:
    clock = Clock()
    async with workers(NOWHERE, clock, 1) as (one,):
        for number in range(5_000):
            clock.now_s += 0.01
            one.ended(Permit("a"), refused(429, retry_after_s=1 + number / 10) if number % 2 else None, 0.1)

        assert sum(len(news) for news in one._news.values()) <= 50
