"""A stream that is silent for long gives signs of life, and only then."""

import asyncio

from api.keep_alive import KeepAlive


class Said:
    def __init__(self) -> None:
        self.times = 0
        self.enough = 0
        self.is_enough = asyncio.Event()
        self.blocked: asyncio.Event | None = None

    async def __call__(self) -> None:
        self.times += 1
        if self.times == self.enough:
            self.is_enough.set()
        if self.blocked:
            await self.blocked.wait()


async def until_said(said: Said, times: int) -> None:
    said.enough = times
    async with asyncio.timeout(10):
        await said.is_enough.wait()


async def test_silence_is_broken_again_and_again() -> None:
    said = Said()

    async with KeepAlive(0.005, said):
        await until_said(said, 3)


async def test_what_says_something_between_two_looks_is_left_alone() -> None:
    said = Said()

    async with KeepAlive(3600, said) as alive:
        alive.said()
        alive._look()
        assert said.times == 0
        alive._look()
        await until_said(said, 1)


async def test_a_sign_that_the_client_does_not_take_is_not_repeated_and_ends_with_the_stream() -> None:
    said = Said()
    said.blocked = asyncio.Event()

    async with KeepAlive(3600, said) as alive:
        for _ in range(3):
            alive._look()
            await asyncio.sleep(0)

    assert said.times == 1
    await asyncio.sleep(0)
    assert alive._saying is not None
    assert alive._saying.cancelled()
