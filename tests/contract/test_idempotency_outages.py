"""The store of idempotency keys in JetStream: what it holds, what it forgets, and what a bad network does to it."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
import nats.errors
import pytest
from nats.aio.client import Client

from adapters.jetstream_idempotency import STREAM, JetStreamIdempotencyStore
from adapters.jetstream_reads import StoredMessage, last_of_subject, last_sequence, next_of_subject
from adapters.nats_connection import connect_nats
from domain.errors import OutcomeUnknown, Unavailable
from domain.idempotency import Claim, Replay, Running, Unreplayable, Won
from migrations.streams import apply_streams, streams
from tests.contract.conftest import eventually
from tests.contract.test_idempotency_store import BODY, SECRET, SSE, Asking, KeptAnswer, Times
from tests.tcp_proxy import tcp_proxy

LARGE = KeptAnswer(200, (), random.Random(4).randbytes(1_500_000))


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
async def direct(connection: Client, times: Times) -> AsyncIterator[JetStreamIdempotencyStore]:
    store = JetStreamIdempotencyStore(connection, SECRET, "direct", times, times.now)
    yield store
    await store.close()


@pytest.fixture
def asking(direct: JetStreamIdempotencyStore) -> Asking:
    return Asking([direct])


async def stored(connection: Client, claim: Claim) -> StoredMessage:
    found = await last_of_subject(connection, STREAM, f"idem.{claim.place}")
    assert found
    return found


async def messages_of(connection: Client, claim: Claim) -> list[StoredMessage]:
    """The key's own message and all that lies below it."""
    found = [await stored(connection, claim)]
    after = 0
    while piece := await next_of_subject(connection, STREAM, f"idem.{claim.place}.>", after):
        found.append(piece)
        after = piece.sequence
    return found


async def test_a_lost_answer_to_a_claim_is_resolved_by_reading(
    asking: Asking, connection: Client, nats_url: str, times: Times
) -> None:
    async with tcp_proxy(nats_url) as proxy:
        client = await connect_nats(proxy.url, "behind the proxy")
        far = Asking([JetStreamIdempotencyStore(client, SECRET, "far", times, times.now)])
        far.scope = asking.scope
        before = await last_sequence(connection, STREAM)

        proxy.deaf = True
        beginning = asyncio.create_task(far.begin())
        await eventually(lambda: _grown(connection, before))
        proxy.deaf = False

        won = await beginning
        assert isinstance(won, Won)
        running = await asking.begin()
        assert isinstance(running, Running) and running.request_id == won.claim.request_id

        proxy.deaf = True
        completing = asyncio.create_task(far.complete(won.claim, LARGE))
        await eventually(lambda: _grown(connection, won.claim.revision))
        proxy.deaf = False
        await completing
        await client.close()
    assert await asking.begin() == Replay(won.claim.request_id, LARGE)


async def test_a_claim_that_nobody_was_told_of_is_given_back(
    asking: Asking, connection: Client, nats_url: str, times: Times
) -> None:
    async with tcp_proxy(nats_url) as proxy:
        client = await connect_nats(proxy.url, "behind the proxy")
        store = JetStreamIdempotencyStore(client, SECRET, "far", times, times.now, deadline_s=0.3)
        far = Asking([store])
        far.scope = asking.scope

        proxy.deaf = True
        with pytest.raises(OutcomeUnknown):
            await far.begin()
        assert store.owed_releases == 1
        assert isinstance(await asking.begin(), Running)
        proxy.deaf = False

        await eventually(lambda: _free(store))
        await store.close()
        await client.close()
    await asking.win()


@pytest.mark.parametrize("taken", [False, True], ids=["nobody took the key", "somebody took the key"])
async def test_a_claim_that_arrives_late_is_given_back_and_no_other(
    asking: Asking, nats_url: str, times: Times, taken: bool
) -> None:
    async with tcp_proxy(nats_url) as proxy:
        client = await connect_nats(proxy.url, "behind the proxy")
        store = JetStreamIdempotencyStore(client, SECRET, "far", times, times.now, deadline_s=0.3)
        far = Asking([store])
        far.scope = asking.scope

        proxy.freeze()
        with pytest.raises(OutcomeUnknown):
            await far.begin()
        claim = await asking.win() if taken else None
        proxy.thaw()

        await eventually(lambda: _free(store))
        await store.close()
        await client.close()
    if claim is None:
        claim = await asking.win()
    await asking.complete(claim, SSE)
    assert await asking.begin() == Replay(claim.request_id, SSE)


async def test_a_claim_whose_caller_was_cancelled_is_given_back(
    asking: Asking, connection: Client, nats_url: str, times: Times
) -> None:
    async with tcp_proxy(nats_url) as proxy:
        client = await connect_nats(proxy.url, "behind the proxy")
        store = JetStreamIdempotencyStore(client, SECRET, "far", times, times.now)
        far = Asking([store])
        far.scope = asking.scope

        before = await last_sequence(connection, STREAM)

        proxy.deaf = True
        beginning = asyncio.create_task(far.begin())
        await eventually(lambda: _grown(connection, before))
        beginning.cancel()
        await asyncio.gather(beginning, return_exceptions=True)
        assert store.owed_releases == 1
        proxy.deaf = False

        await eventually(lambda: _free(store))
        await store.close()
        await client.close()
    await asking.win()


async def test_a_release_during_an_outage_is_made_up_for(asking: Asking, nats_url: str, times: Times) -> None:
    async with tcp_proxy(nats_url) as proxy:
        client = await connect_nats(proxy.url, "behind the proxy")
        store = JetStreamIdempotencyStore(client, SECRET, "far", times, times.now)
        far = Asking([store])
        far.scope = asking.scope
        claim = await far.win()

        proxy.freeze()
        await far.release(claim)
        assert store.owed_releases == 1
        assert isinstance(await asking.begin(), Running)
        proxy.thaw()

        await eventually(lambda: _free(store))
        await store.close()
        await client.close()
    await asking.win()


async def test_a_late_release_frees_no_other_claim(direct: JetStreamIdempotencyStore, asking: Asking) -> None:
    first = await asking.win()
    await asking.release(first)
    second = await asking.win()

    await asking.release(first)

    assert direct.owed_releases == 0
    await asking.complete(second, SSE)
    assert await asking.begin() == Replay(second.request_id, SSE)


async def test_without_a_connection_nothing_is_begun(nats_url: str, times: Times) -> None:
    async with tcp_proxy(nats_url) as proxy:
        client = await connect_nats(proxy.url, "behind the proxy")
        store = JetStreamIdempotencyStore(client, SECRET, "far", times, times.now, deadline_s=0.2)
    with pytest.raises(Unavailable):
        await Asking([store]).begin()
    await store.close()
    await client.close()


async def test_nothing_that_is_stored_can_be_read_or_guessed(asking: Asking, connection: Client) -> None:
    claim = await asking.win()
    await asking.complete(claim, KeptAnswer(200, ((b"h", b"header-secret"),), b"body-secret" * 200_000))

    for message in await messages_of(connection, claim):
        said = message.subject.encode() + message.raw + message.ident.encode()
        for secret in (b"key-1", asking.scope.encode(), BODY.encode(), bytes.fromhex(BODY), b"secret"):
            assert secret not in said


@pytest.mark.parametrize("answer", [SSE, LARGE], ids=["one message", "several"])
async def test_an_altered_answer_is_refused_and_not_made_again(
    asking: Asking, connection: Client, answer: KeptAnswer
) -> None:
    claim = await asking.win()
    await asking.complete(claim, answer)

    for message in await messages_of(connection, claim):
        await connection.jetstream().publish(message.subject, _flipped(message.raw, b"sealed"))
        assert await asking.begin() == Unreplayable(claim.request_id, "unreadable")
        await connection.jetstream().publish(message.subject, message.raw)
        assert await asking.begin() == Replay(claim.request_id, answer)


async def test_a_missing_piece_is_noticed(asking: Asking, connection: Client) -> None:
    claim = await asking.win()
    await asking.complete(claim, LARGE)
    _, *pieces = await messages_of(connection, claim)
    assert len(pieces) == 2

    await connection.jetstream().delete_msg(STREAM, pieces[-1].sequence)

    assert await asking.begin() == Unreplayable(claim.request_id, "unreadable")


async def test_one_accounts_answer_is_no_answer_for_another(asking: Asking, connection: Client) -> None:
    mine, others = await asking.win(), Asking(asking.stores)
    theirs = await others.win()
    await others.complete(theirs, SSE)
    await asking.complete(mine, KeptAnswer(200, (), b"mine"))
    heads = [msgspec.msgpack.decode((await stored(connection, claim)).raw) for claim in (mine, theirs)]

    forged = msgspec.msgpack.encode(heads[0] | {"sealed": heads[1]["sealed"]})
    await connection.jetstream().publish(f"idem.{mine.place}", forged)

    assert await asking.begin() == Unreplayable(mine.request_id, "unreadable")


async def test_what_cannot_be_decoded_is_never_a_free_key(asking: Asking, connection: Client) -> None:
    claim = await asking.win()
    await connection.jetstream().publish(f"idem.{claim.place}", b"?")

    with pytest.raises(Unavailable):
        await asking.begin()


async def test_a_kept_answer_takes_one_message_until_it_is_large(asking: Asking, connection: Client) -> None:
    claim = await asking.win()
    await asking.complete(claim, KeptAnswer(200, (), b"x" * 5_000_000))

    assert len(await messages_of(connection, claim)) == 1


async def test_a_key_is_free_again_when_its_time_is_over(asking: Asking, connection: Client) -> None:
    answered, claimed = await asking.win(), Asking(asking.stores)
    await asking.complete(answered, LARGE)
    await claimed.win()
    jetstream = connection.jetstream()
    kept = (await jetstream.stream_info(STREAM)).config
    await jetstream.update_stream(kept.evolve(max_age=0.2, duplicate_window=0.2))
    try:
        await eventually(lambda: _won(asking))
        await eventually(lambda: _won(claimed))
    finally:
        await jetstream.update_stream(kept)


async def test_the_stream_keeps_a_day_and_refuses_rather_than_forgets(connection: Client) -> None:
    config = (await connection.jetstream().stream_info(STREAM)).config

    (declared,) = [stream for stream in streams() if stream.name == STREAM]
    assert (config.max_age, config.max_msgs_per_subject, config.discard) == (86_400, 1, "new")
    assert (config.max_msgs, config.allow_direct) == (declared.max_msgs, False)
    assert await apply_streams(connection) == []


@pytest.mark.parametrize("deployment", ["R3"], indirect=True)
async def test_a_new_leader_knows_claims_and_answers(asking: Asking, connection: Client) -> None:
    claim = await asking.win()
    await _new_leader(connection)
    running = await asking.begin()
    assert isinstance(running, Running) and running.request_id == claim.request_id

    await asking.complete(claim, LARGE)
    await _new_leader(connection)

    assert await asking.begin() == Replay(claim.request_id, LARGE)


@pytest.mark.parametrize("deployment", ["R3"], indirect=True)
async def test_one_wins_while_the_leader_changes(connection: Client, direct: JetStreamIdempotencyStore) -> None:
    for _ in range(3):
        race = Asking([direct])
        beginnings = [asyncio.create_task(race.begin()) for _ in range(20)]
        await _new_leader(connection)
        outcomes = await asyncio.gather(*beginnings, return_exceptions=True)
        won = [outcome for outcome in outcomes if isinstance(outcome, Won)]
        assert all(isinstance(outcome, Won | Running | Unavailable) for outcome in outcomes)
        assert len(won) == 1 or (not won and any(isinstance(outcome, OutcomeUnknown) for outcome in outcomes))


async def _new_leader(connection: Client) -> None:
    """Asks the leader to step down, and waits until there is another."""

    async def leader() -> str:
        with suppress(nats.errors.Error, TimeoutError):
            answer = msgspec.json.decode((await connection.request(f"$JS.API.STREAM.INFO.{STREAM}", b"")).data)
            return answer.get("cluster", {}).get("leader", "")
        return ""

    async def another() -> bool:
        return await leader() not in ("", before)

    before = await eventually(leader)
    await connection.publish(f"$JS.API.STREAM.LEADER.STEPDOWN.{STREAM}", b"")
    await eventually(another)


async def _grown(connection: Client, before: int) -> bool:
    return await last_sequence(connection, STREAM) > before


async def _free(store: JetStreamIdempotencyStore) -> bool:
    return store.owed_releases == 0


async def _won(asking: Asking) -> bool:
    return isinstance(await asking.begin(), Won)


def _flipped(raw: bytes, member: bytes) -> bytes:
    """A bit in the middle of what is sealed, which is all of a piece and the end of a head."""
    place = (raw.find(member) + len(raw)) // 2
    return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
