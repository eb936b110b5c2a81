"""What every keeper of passwords promises; and what the real one does under load."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from adapters.passwords import Argon2Passwords, PlainPasswords
from domain.errors import Busy
from domain.ports import Passwords

SHORTEST_HASH_S = 0.002
"""No machine passes twice over 19 MiB any faster; no hash at all takes microseconds."""


@pytest.fixture(params=["argon2", "plain"])
def passwords(request: pytest.FixtureRequest) -> Iterator[Passwords]:
    if request.param == "plain":
        yield PlainPasswords()
        return
    argon2 = Argon2Passwords()
    yield argon2
    argon2.close()


async def test_the_right_password_verifies_and_no_other(passwords: Passwords) -> None:
    hashed = await passwords.hash("correct horse")

    assert await passwords.verify("correct horse", hashed)
    assert not await passwords.verify("wrong horse", hashed)


async def test_nobody_has_no_password(passwords: Passwords) -> None:
    assert not await passwords.verify("the password of nobody", None)


async def test_a_broken_hash_verifies_nothing(passwords: Passwords) -> None:
    assert not await passwords.verify("correct horse", "$argon2id$broken")


@pytest.fixture
def argon2() -> Iterator[Argon2Passwords]:
    passwords = Argon2Passwords(threads=1, waiting=2)
    yield passwords
    passwords.close()


async def test_the_parameters_are_in_the_hash_and_the_salt_is_new(argon2: Argon2Passwords) -> None:
    one, other = [await argon2.hash("correct horse") for _ in range(2)]

    assert one.startswith("$argon2id$v=19$m=19456,t=2,p=1$") and one != other


async def test_a_full_queue_is_refused_at_once(argon2: Argon2Passwords) -> None:
    answers = await asyncio.gather(*(argon2.hash("correct horse") for _ in range(6)), return_exceptions=True)

    assert [isinstance(answer, Busy) for answer in answers] == [False] * 3 + [True] * 3
    assert await argon2.verify("correct horse", await argon2.hash("correct horse"))


async def test_a_caller_that_gives_up_keeps_its_place_until_its_hash_is_done(argon2: Argon2Passwords) -> None:
    tasks = [asyncio.create_task(argon2.hash("correct horse")) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    with pytest.raises(Busy):
        await argon2.hash("correct horse")
    await asyncio.wrap_future(argon2._pool.submit(int))
    assert await argon2.hash("correct horse")


async def test_nobody_costs_a_whole_hash_with_the_same_parameters(argon2: Argon2Passwords) -> None:
    assert argon2._decoy.startswith((await argon2.hash("correct horse")).rpartition("$")[0][:30])

    started = time.perf_counter()
    await argon2.verify("wrong horse", None)
    assert time.perf_counter() - started > SHORTEST_HASH_S
