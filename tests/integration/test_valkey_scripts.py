"""Scripts over one connection: in order, in batches, each answer to its own call, and nothing is lost on the way."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from adapters import valkey_scripts as module
from adapters.endpoints import ServiceEndpoints
from adapters.valkey_scripts import MAX_BATCH, BatchedScripts, Script, ValkeyAway
from tests.limits import PATIENT_S, connected

pytestmark = pytest.mark.asyncio(loop_scope="session")

ECHO = Script("return ARGV[1]")
PUSH = Script("return redis.call('RPUSH', KEYS[1], ARGV[1])")
REFUSE = Script("return redis.error_reply('NO not this')")
SHORT_S = 0.3
"""For what is never answered."""


@pytest_asyncio.fixture(loop_scope="session")
async def client(servers: ServiceEndpoints) -> AsyncIterator[Redis]:
    async with connected(servers.redis) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def scripts(client: Redis) -> AsyncIterator[BatchedScripts]:
    scripts = BatchedScripts(client, timeout_s=PATIENT_S)
    yield scripts
    await scripts.aclose()


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


async def pushed(client: Redis, key: str) -> list[int]:
    return [int(each) for each in await client.lrange(key, 0, -1)]  # type: ignore[misc]


def new_script() -> Script:
    """That no server knows yet."""
    return Script(f"return redis.call('RPUSH', KEYS[1], ARGV[1]) -- {uuid.uuid4().hex}")


async def test_calls_are_made_in_their_order_whether_anybody_waits_or_not(
    client: Redis, scripts: BatchedScripts, key: str
) -> None:
    calls = [scripts.call(PUSH, (key,), (index,)) for index in range(2 * MAX_BATCH + 50)]

    assert await calls[-1] == len(calls)

    assert await pushed(client, key) == [*range(len(calls))]


async def test_each_call_has_its_own_answer(scripts: BatchedScripts) -> None:
    async def ask(index: int) -> tuple[bytes, bytes]:
        return await scripts.call(ECHO, (), (index,)), await scripts.call(ECHO, (), (-index,))

    answers = await asyncio.gather(*map(ask, range(1, 900)))

    assert answers == [(b"%d" % index, b"-%d" % index) for index in range(1, 900)]


async def test_a_batch_is_settled_as_a_whole_before_anybody_goes_on(scripts: BatchedScripts) -> None:
    first, second = scripts.call(ECHO, (), ("a",)), scripts.call(ECHO, (), ("b",))
    await first

    assert second.answer == b"b"
    waiting = second.__await__()
    with pytest.raises(StopIteration) as ended:  # at its first step: it does not suspend
        next(waiting)
    assert ended.value.value == b"b"


async def test_who_listens_is_told_once_when_the_answer_comes_or_at_once(scripts: BatchedScripts) -> None:
    told: list[Any] = []
    call = scripts.call(ECHO, (), ("a",))
    call.then(told.append)
    assert told == []
    await call
    assert told == [b"a"]

    call.then(lambda answer: told.append((answer, "again")))

    assert told == [b"a", (b"a", "again")]


async def test_who_fails_to_listen_keeps_nobody_from_the_answer(scripts: BatchedScripts) -> None:
    def fail(_: object) -> None:
        raise RuntimeError

    failing, other = scripts.call(ECHO, (), ("a",)), scripts.call(ECHO, (), ("b",))
    failing.then(fail)

    assert (await other, await failing, await scripts.call(ECHO, (), ("c",))) == (b"b", b"a", b"c")


async def test_whoever_is_cancelled_takes_nothing_back(client: Redis, scripts: BatchedScripts, key: str) -> None:
    async def wait() -> None:
        await scripts.call(PUSH, (key,), (1,))

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await scripts.call(PUSH, (key,), (2,))

    assert waiting.cancelled()
    assert await pushed(client, key) == [1, 2]


async def test_unknown_scripts_are_loaded_and_only_their_calls_made_again(
    client: Redis, scripts: BatchedScripts, key: str
) -> None:
    await scripts.call(PUSH, (key,), (0,))
    one, other = new_script(), new_script()

    calls = [scripts.call(script, (key,), (index,)) for index, script in enumerate((PUSH, one, other, PUSH, one), 1)]
    for call in calls:
        await call

    assert await pushed(client, key) == [0, 1, 4, 2, 3, 5]


async def test_a_refusal_is_its_calls_alone(scripts: BatchedScripts) -> None:
    refused, other = scripts.call(REFUSE, (), ()), scripts.call(ECHO, (), ("a",))

    with pytest.raises(ValkeyAway, match="NO not this"):
        await refused
    assert await other == b"a"


async def test_a_connection_that_was_closed_while_it_was_idle_is_made_anew(
    client: Redis, scripts: BatchedScripts
) -> None:
    await scripts.call(ECHO, (), ("a",))
    await client.client_kill_filter(_type="normal", skipme=True)

    assert await scripts.call(ECHO, (), ("b",)) == b"b"
    assert await scripts.call(ECHO, (), ("c",)) == b"c"


async def test_an_answer_that_comes_too_late_is_nobodys(client: Redis) -> None:
    scripts = BatchedScripts(client, timeout_s=SHORT_S)
    await scripts.call(ECHO, (), ("before",))
    await client.client_pause(60_000, all=False)
    with pytest.raises(ValkeyAway, match="TimeoutError"):
        await scripts.call(ECHO, (), ("late",))

    after = scripts.call(ECHO, (), ("after",))
    await client.client_unpause()

    assert await after == b"after"
    await scripts.aclose()


async def test_what_was_sent_on_a_connection_that_ends_is_sent_again_on_the_next(
    client: Redis, scripts: BatchedScripts, key: str
) -> None:
    await scripts.call(ECHO, (), ("before",))
    await client.client_pause(60_000, all=False)
    call = scripts.call(PUSH, (key,), (1,))
    await client.ping()  # it is sent meanwhile
    await client.client_kill_filter(_type="normal", skipme=True)
    await client.client_unpause()

    assert await call == 1


async def test_what_was_called_is_still_done_when_it_is_closed_and_nothing_after(client: Redis, key: str) -> None:
    scripts = BatchedScripts(client, timeout_s=PATIENT_S)
    for index in range(MAX_BATCH + 1):
        scripts.call(PUSH, (key,), (index,))

    await scripts.aclose()

    assert await pushed(client, key) == [*range(MAX_BATCH + 1)]
    with pytest.raises(ValkeyAway):
        await scripts.call(PUSH, (key,), (-1,))


@pytest.mark.parametrize("bound", ["MAX_WAITING", "MAX_WAITING_BYTES"])
async def test_there_is_an_end_to_what_waits(
    scripts: BatchedScripts, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(module, bound, 2 if bound == "MAX_WAITING" else 2 * len(ECHO.packed((), ("a",))))
    calls = [scripts.call(ECHO, (), (name,)) for name in "abc"]

    with pytest.raises(ValkeyAway):
        await calls[2]
    assert [await call for call in calls[:2]] == [b"a", b"b"]
    assert await scripts.call(ECHO, (), ("d",)) == b"d"


async def test_a_batch_is_bounded_by_its_size_and_one_call_always_goes(
    scripts: BatchedScripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(ECHO.packed((), ("a",)))
    monkeypatch.setattr(module, "MAX_BATCH_BYTES", 2 * size)
    first, second, third = (scripts.call(ECHO, (), (name,)) for name in "abc")

    await first
    assert (second.answer, third.answer) == (b"b", module.PENDING)
    assert await third == b"c"
    assert await scripts.call(ECHO, (), ("x" * 3 * size,)) == b"x" * 3 * size


async def test_a_server_that_does_not_serve_now_is_left_for_whoever_is_behind_its_address(
    scripts: BatchedScripts, client: Redis
) -> None:
    """A replica that was a master, for one: the connection would go on to it for ever."""
    refuse = Script("return redis.error_reply('READONLY You cannot write against a replica')")
    await scripts.call(ECHO, (), ("1",))
    before = {each["id"] for each in await client.client_list()}
    with pytest.raises(ValkeyAway, match="READONLY"):
        await scripts.call(refuse, (), ())
    assert await scripts.call(ECHO, (), ("2",)) == b"2"

    after = {each["id"] for each in await client.client_list()}
    assert len(after - before) == len(before - after) == 1
