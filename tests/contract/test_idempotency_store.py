"""What every store of idempotency keys promises: one claim, one answer, and in doubt nothing twice."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from adapters.in_memory_idempotency import InMemoryIdempotencyStore
from adapters.jetstream_idempotency import JetStreamIdempotencyStore
from adapters.nats_connection import connect_nats
from domain.errors import ConcurrentWrite, Unavailable
from domain.idempotency import (
    LONGEST_ANSWER_BYTES,
    AnswerTooLarge,
    Claim,
    CompleteAnswer,
    Fingerprint,
    IdempotencyStore,
    KeptAnswer,
    Lost,
    Mismatch,
    Outcome,
    Replay,
    Running,
    Unreplayable,
    Won,
    fingerprint,
    idempotency_key,
)
from domain.ids import RequestId
from migrations.streams import apply_streams
from tests.contract.conftest import DEPLOYMENTS

SECRET = bytes(range(32))
ROUTE = "/v1/chat/completions"
BODY = fingerprint("POST", ROUTE, b'{"model":"m"}')
OTHER_BODY = fingerprint("POST", ROUTE, b'{"model":"n"}')
LOST_AFTER_S = 60.0
CONNECTIONS = 4
SSE = KeptAnswer(
    200, ((b"content-type", b"text/event-stream"),), b'data: {"a":1}\n\n: \xff\x00\n\ndata: [DONE]\n\n', True
)


class Times:
    """A clock that can be moved on, and the ends of requests; None when the log does not answer."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.ends: dict[str, datetime] | None = {}

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def ended_at(self, claim: Claim) -> datetime | None:
        if self.ends is None:
            raise Unavailable("no answer")
        return self.ends.get(claim.request_id)


class Asking:
    """One key of an account of its own."""

    def __init__(self, stores: Sequence[IdempotencyStore]) -> None:
        self.stores = stores
        self.scope = f"acc_{uuid.uuid4().hex}"

    async def begin(self, worker: int = 0, body: Fingerprint = BODY, key: str = "key-1", route: str = ROUTE) -> Outcome:
        request_id = RequestId(f"req_{uuid.uuid4().hex}")
        return await self.stores[worker].begin(self.scope, route, idempotency_key(key), body, request_id)

    async def win(self, worker: int = 0) -> Claim:
        outcome = await self.begin(worker)
        assert isinstance(outcome, Won)
        return outcome.claim

    async def complete(self, claim: Claim, answer: CompleteAnswer, worker: int = 0) -> None:
        await self.stores[worker].complete(claim, answer)

    async def release(self, claim: Claim, worker: int = 0) -> None:
        await self.stores[worker].release(claim)


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture(params=["in memory", *DEPLOYMENTS])
async def asking(request: pytest.FixtureRequest, times: Times) -> AsyncIterator[Asking]:
    """Through four workers, on R3 not all at the same server."""
    if request.param == "in memory":
        yield Asking([InMemoryIdempotencyStore(times, times.now, lost_after_s=LOST_AFTER_S)] * CONNECTIONS)
        return
    if request.param == "R3":
        urls = [node.url for node in request.getfixturevalue("nats_cluster")]
    else:
        urls = [request.getfixturevalue("nats_node").url]
    clients = [await connect_nats(urls[i % len(urls)], "test") for i in range(CONNECTIONS)]
    await apply_streams(clients[0], replicas=len(urls))
    stores = [
        JetStreamIdempotencyStore(client, SECRET, f"w{i}", times, times.now, lost_after_s=LOST_AFTER_S)
        for i, client in enumerate(clients)
    ]
    yield Asking(stores)
    for store, client in zip(stores, clients, strict=True):
        await store.close()
        await client.close()


async def test_the_first_wins_and_the_next_is_told_who_runs(asking: Asking, times: Times) -> None:
    claim = await asking.win()

    again = await asking.begin(1)

    assert isinstance(again, Running)
    assert again.request_id == claim.request_id
    assert abs(again.since - times.now()) < timedelta(minutes=1)


async def test_of_fifty_at_once_over_four_connections_one_wins(asking: Asking) -> None:
    outcomes = await asyncio.gather(*(asking.begin(i % CONNECTIONS) for i in range(50)))

    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Won)]
    others = [outcome for outcome in outcomes if isinstance(outcome, Running)]
    assert [other.request_id for other in others] == [winner.claim.request_id] * 49


async def test_another_account_route_or_key_is_free(asking: Asking) -> None:
    await asking.win()

    assert isinstance(await asking.begin(route="/v1/embeddings"), Won)
    assert isinstance(await asking.begin(key="key-2"), Won)
    assert isinstance(await Asking(asking.stores).begin(), Won)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"\x00\xff" * 50_000, random.Random(1).randbytes(5 * 1024 * 1024)], ids=len
)
async def test_an_answer_is_replayed_byte_for_byte_by_any_worker(asking: Asking, body: bytes) -> None:
    answer = KeptAnswer(201, ((b"content-type", b"a/b"), (b"x-agg-cost-usd", b"0.1")), body)
    claim = await asking.win()

    await asking.complete(claim, answer)

    expected = Replay(claim.request_id, answer)
    assert [await asking.begin(0), await asking.begin(1), await asking.begin(2)] == [expected] * 3


async def test_a_stream_is_replayed_as_a_stream(asking: Asking) -> None:
    claim = await asking.win()

    await asking.complete(claim, SSE)

    assert await asking.begin(1) == Replay(claim.request_id, SSE)


async def test_another_body_under_the_key_is_a_mismatch_whatever_became_of_it(asking: Asking) -> None:
    claim = await asking.win()
    assert await asking.begin(1, OTHER_BODY) == Mismatch(claim.request_id)

    await asking.complete(claim, SSE)

    assert await asking.begin(1, OTHER_BODY) == Mismatch(claim.request_id)


async def test_a_released_key_is_free_again(asking: Asking) -> None:
    first = await asking.win()

    await asking.release(first)

    second = await asking.win(1)
    await asking.complete(second, SSE, 1)
    assert await asking.begin() == Replay(second.request_id, SSE)


async def test_a_claim_is_released_once(asking: Asking) -> None:
    first = await asking.win()
    await asking.release(first)
    second = await asking.win(1)

    await asking.release(first)

    again = await asking.begin()
    assert isinstance(again, Running) and again.request_id == second.request_id


async def test_who_released_completes_nothing(asking: Asking) -> None:
    late, answer = (KeptAnswer(200, (), random.Random(seed).randbytes(1_200_000)) for seed in (5, 6))
    first = await asking.win()
    await asking.release(first)
    with pytest.raises(ConcurrentWrite):
        await asking.complete(first, late)
    second = await asking.win(1)
    with pytest.raises(ConcurrentWrite):
        await asking.complete(first, late)
    again = await asking.begin()
    assert isinstance(again, Running) and again.request_id == second.request_id

    await asking.complete(second, answer, 1)

    assert await asking.begin() == Replay(second.request_id, answer)


async def test_an_answer_cannot_be_released(asking: Asking) -> None:
    claim = await asking.win()
    await asking.complete(claim, SSE)

    await asking.release(claim)

    assert await asking.begin() == Replay(claim.request_id, SSE)


async def test_the_first_answer_counts_when_it_is_given_again(asking: Asking) -> None:
    claim = await asking.win()

    for body in (random.Random(2).randbytes(1_200_000), b"another"):
        await asking.complete(claim, KeptAnswer(200, (), body))

    outcome = await asking.begin()
    assert isinstance(outcome, Replay) and len(outcome.answer.body) == 1_200_000


@pytest.mark.parametrize(
    "answer", [AnswerTooLarge(), KeptAnswer(200, (), bytes(LONGEST_ANSWER_BYTES + 1))], ids=["told", "found"]
)
async def test_an_answer_that_is_too_large_is_named_and_never_made_again(
    asking: Asking, answer: CompleteAnswer
) -> None:
    claim = await asking.win()

    await asking.complete(claim, answer)

    assert await asking.begin(1) == Unreplayable(claim.request_id, "too_large")


async def test_a_request_that_ended_without_an_answer_is_lost(asking: Asking, times: Times) -> None:
    claim = await asking.win()
    times.ends = {claim.request_id: times.now()}
    assert isinstance(await asking.begin(1), Running), "its answer may still come"

    times.ahead = timedelta(seconds=2 * LOST_AFTER_S)

    outcome = await asking.begin(1)
    assert isinstance(outcome, Lost)
    assert (outcome.claim.request_id, outcome.claim.worker) == (claim.request_id, claim.worker)


async def test_a_long_request_that_has_just_ended_is_running(asking: Asking, times: Times) -> None:
    claim = await asking.win()

    times.ahead = timedelta(hours=3)
    times.ends = {claim.request_id: times.now() - timedelta(seconds=LOST_AFTER_S / 2)}

    assert isinstance(await asking.begin(1), Running)


async def test_a_lost_key_is_free_once_it_is_released(asking: Asking, times: Times) -> None:
    claim = await asking.win()
    times.ends = {claim.request_id: times.now()}
    times.ahead = timedelta(seconds=2 * LOST_AFTER_S)
    lost = await asking.begin(1)
    assert isinstance(lost, Lost)

    await asking.release(lost.claim, 1)

    await asking.win(2)
    with pytest.raises(ConcurrentWrite):
        await asking.complete(claim, SSE)


@pytest.mark.parametrize("silent", [True, False], ids=["the log is silent", "no end is known"])
async def test_an_old_request_that_may_still_run_is_running(asking: Asking, times: Times, silent: bool) -> None:
    await asking.win()

    times.ahead, times.ends = timedelta(hours=3), None if silent else {}

    assert isinstance(await asking.begin(1), Running)


async def test_any_course_of_events_goes_as_in_the_model(asking: Asking, times: Times) -> None:
    """Begun, completed and released at random, by four workers, under three keys with two bodies."""
    chance = random.Random(3)
    model = InMemoryIdempotencyStore(times, times.now, lost_after_s=LOST_AFTER_S)
    claims: list[tuple[Claim, Claim]] = []
    for number in range(80):
        store, request_id = chance.choice(asking.stores), RequestId(f"req_{uuid.uuid4().hex}")
        step = chance.choice(["begin", "begin", "complete", "release"])
        if step == "begin":
            arguments = (asking.scope, ROUTE, idempotency_key(chance.choice("abc")), chance.choice([BODY, OTHER_BODY]))
            real, modelled = await store.begin(*arguments, request_id), await model.begin(*arguments, request_id)
            if isinstance(real, Won) and isinstance(modelled, Won):
                claims.append((real.claim, modelled.claim))
            else:
                assert _without_time(real) == _without_time(modelled)
        elif claims:
            real, modelled = chance.choice(claims[-4:])
            answer = KeptAnswer(200, (), b"%d" % number)
            if step == "complete":
                assert await _completed(store, real, answer) == await _completed(model, modelled, answer)
            else:
                await store.release(real)
                await model.release(modelled)
    assert len(claims) > 5


async def _completed(store: IdempotencyStore, claim: Claim, answer: KeptAnswer) -> bool:
    try:
        await store.complete(claim, answer)
    except ConcurrentWrite:
        return False
    return True


def _without_time(outcome: Outcome) -> object:
    return ("running", outcome.request_id) if isinstance(outcome, Running) else outcome
