"""What the request log promises: group commit loses nothing that it took, and takes no work it cannot record."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest
from nats.aio.client import Client

from adapters.in_memory import InMemoryRequestLog
from adapters.jetstream_request_log import NEW_WORK, GroupCommitRequestLog
from adapters.log_reader import read_stream
from adapters.nats_connection import connect_nats
from domain.errors import Busy, Unavailable
from domain.events import Envelope, decode_batch, decode_fact
from domain.ids import AccountId, LeaseId, RequestId
from domain.ports import RequestLog
from domain.request import (
    RequestAdmitted,
    RequestAttempted,
    RequestCached,
    RequestCompleted,
    RequestEnd,
    RequestEvent,
    RequestFailed,
)
from tests.contract.conftest import DEPLOYMENTS, until

AT = datetime(2026, 1, 1, tzinfo=UTC)


def _common(request: str) -> dict[str, Any]:
    return {
        "request_id": RequestId(request),
        "account_id": AccountId("acc"),
        "at": AT,
        "lease_id": LeaseId("lease"),
        "model": "gpt-4o",
        "provider": "openai",
        "price_id": "price",
    }


def admitted(request: str) -> RequestAdmitted:
    return RequestAdmitted(
        **_common(request),
        endpoint="chat.completions",
        upstream_model="gpt-4o",
        reserved_nanos=10,
        input_estimate=1,
        input_estimate_nanos=1,
    )


def completed(request: str, usage: bytes = b"null") -> RequestCompleted:
    return RequestCompleted(**_common(request), cost_nanos=7, evidence="reported", usage=msgspec.Raw(usage))


def cached(request: str) -> RequestCached:
    return RequestCached(**_common(request), cost_nanos=0, endpoint="chat.completions", saved_nanos=7)


@asynccontextmanager
async def request_log(connection: Client, worker: str, **options: Any) -> AsyncGenerator[GroupCommitRequestLog]:
    log = GroupCommitRequestLog(connection, worker, **options)
    await log.open()
    try:
        yield log
    finally:
        await log.close(deadline_s=0.1)


async def recorded(connection: Client, worker: str) -> list[Envelope]:
    """What a reader keeps of a worker's events: each (source, sequence) once."""
    seen: dict[int, Envelope] = {}
    async for message in read_stream(connection, "REQ"):
        for envelope in decode_batch(message.raw):
            if envelope.source == f"/workers/{worker}":
                seen.setdefault(envelope.sequence, envelope)
    return list(seen.values())


def requests(envelopes: Sequence[Envelope]) -> list[str]:
    return [envelope.subject.removeprefix("request/") for envelope in envelopes]


class TestEveryRequestLog:
    @pytest.fixture(params=["in memory", *DEPLOYMENTS])
    def deployment(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    async def log(self, deployment: str, worker: str, request: pytest.FixtureRequest) -> AsyncIterator[RequestLog]:
        if deployment == "in memory":
            yield InMemoryRequestLog()
            return
        client = await connect_nats(request.getfixturevalue("nats_url"), "test")
        await request.getfixturevalue("declared_streams")(client)
        async with request_log(client, worker) as log:
            yield log
        await client.close()

    async def test_positions_grow(self, log: RequestLog) -> None:
        positions = [await log.append(event) for event in (admitted("r"), completed("r"), cached("s"))]

        assert positions == sorted(set(positions))
        assert positions[0] > 0


async def test_an_event_comes_back_as_it_was_in_an_envelope(connection: Client, worker: str) -> None:
    event = completed("r", b'{"prompt_tokens":12, "odd": "\\u00e9"}')
    async with request_log(connection, worker) as log:
        position = await log.append(event)

    (envelope,) = await recorded(connection, worker)
    assert decode_fact(envelope) == event
    assert (envelope.id, envelope.source, envelope.sequence) == (f"{worker}/1", f"/workers/{worker}", 1)
    assert (envelope.type, envelope.subject, envelope.accountid) == ("request.completed.v1", "request/r", "acc")
    stored = await connection.jetstream().get_msg("REQ", seq=position)
    assert stored.subject == "req.0"
    assert stored.headers is not None
    assert stored.headers["content-type"] == "application/cloudevents-batch+json"


async def test_concurrent_appends_share_few_messages_and_keep_their_order(connection: Client, worker: str) -> None:
    sizes: list[int] = []

    def count(size: int, latency_s: float) -> None:
        assert 0 < latency_s < 1
        sizes.append(size)

    async with request_log(connection, worker, on_publish=count) as log:
        names = [f"r{index}" for index in range(64)]
        positions = await asyncio.gather(*(log.append(admitted(name)) for name in names))

    envelopes = await recorded(connection, worker)
    assert requests(envelopes) == names
    assert [envelope.sequence for envelope in envelopes] == list(range(1, 65))
    assert positions == sorted(positions)
    assert len(set(positions)) == len(sizes) <= 4
    assert sum(sizes) == 64


async def test_a_message_holds_no_more_than_the_server_takes(connection: Client, worker: str) -> None:
    usage = b'"' + b"x" * 100_000 + b'"'
    async with request_log(connection, worker) as log:
        positions = await asyncio.gather(*(log.append(completed(f"r{index}", usage)) for index in range(30)))

    assert len(set(positions)) >= 4
    assert requests(await recorded(connection, worker)) == [f"r{index}" for index in range(30)]


async def test_an_event_that_cannot_be_recorded_harms_nobody_else(connection: Client, worker: str) -> None:
    too_large = completed("large", b'"' + b"x" * connection.max_payload + b'"')
    impossible = msgspec.structs.replace(completed("odd"), tokens=object())  # type: ignore[arg-type]
    async with request_log(connection, worker) as log:
        results = await asyncio.gather(
            *(log.append(event) for event in (admitted("a"), too_large, impossible, admitted("b"))),
            return_exceptions=True,
        )

    assert [type(result) for result in results] == [int, ValueError, TypeError, int]
    envelopes = await recorded(connection, worker)
    assert requests(envelopes) == ["a", "b"]
    assert [envelope.sequence for envelope in envelopes] == [1, 2]


@pytest.mark.parametrize("begin", [admitted, cached])
async def test_what_would_begin_a_request_and_is_cancelled_while_it_waits_is_not_recorded(
    connection: Client, worker: str, begin: Callable[[str], RequestEvent]
) -> None:
    async with request_log(connection, worker) as log:
        first = asyncio.create_task(log.append(begin("first")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gone = asyncio.create_task(log.append(begin("gone")))
        ended = asyncio.create_task(log.append(completed("ended")))
        await asyncio.sleep(0)
        gone.cancel()
        ended.cancel()
        await first
        await until(lambda: log.waiting == 0)

    assert requests(await recorded(connection, worker)) == ["first", "ended"]


async def test_closing_writes_what_waits_and_then_refuses(connection: Client, worker: str) -> None:
    log = GroupCommitRequestLog(connection, worker)
    with pytest.raises(Unavailable):
        await log.append(completed("too early"))
    await log.open()
    appends = [asyncio.create_task(log.append(admitted(f"r{index}"))) for index in range(2_000)]
    await asyncio.sleep(0)

    assert await log.close() == 0

    assert len({await append for append in appends}) >= 4
    assert len(await recorded(connection, worker)) == 2_000
    for event in (admitted("late"), cached("late"), completed("late")):
        with pytest.raises(Unavailable):
            await log.append(event)


async def test_attempts_of_what_was_admitted_are_taken_when_work_is_turned_away(
    connection: Client, worker: str
) -> None:
    attempt = RequestAttempted(
        **_common("r"), number=1, deployment="d", upstream_model="m", error_kind="timeout", message="no answer"
    )
    async with request_log(connection, worker, max_waiting=0) as log:
        noted = asyncio.create_task(log.append(attempt))
        await asyncio.sleep(0)
        await log.append(completed("r"))
        await noted

    assert [type(decode_fact(envelope)) for envelope in await recorded(connection, worker)] == [
        *(RequestAttempted, RequestCompleted)
    ]


async def test_answers_from_the_cache_are_turned_away_with_the_work(connection: Client, worker: str) -> None:
    async with request_log(connection, worker, max_waiting=0) as log:
        with pytest.raises(Busy):
            await log.append(cached("r"))
    assert await recorded(connection, worker) == []


async def test_a_server_that_closes_ends_what_runs_and_takes_no_answer_from_the_cache(
    connection: Client, worker: str
) -> None:
    async with request_log(connection, worker) as log:
        waiting = asyncio.create_task(log.append(admitted("r")))
        await asyncio.sleep(0)
        closing = asyncio.create_task(log.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="takes no new requests"):
            await log.append(cached("late"))
        await log.append(completed("r"))
        await closing
        await waiting

    assert requests(await recorded(connection, worker)) == ["r", "r"]


@pytest.mark.parametrize("kind", get_args(RequestEvent))
def test_only_what_begins_a_request_may_be_refused(kind: type[Any]) -> None:
    begins = not issubclass(kind, RequestEnd | RequestAttempted) or kind is RequestCached

    assert (kind in NEW_WORK) == begins


async def test_failed_requests_are_ends_too(connection: Client, worker: str) -> None:
    event = RequestFailed(
        **_common("r"), cost_nanos=0, evidence="none", error_kind="timeout", message="no answer", upstream_status=504
    )
    async with request_log(connection, worker, max_waiting=0) as log:
        with pytest.raises(Busy):
            await log.append(admitted("r"))
        await log.append(event)

    assert [decode_fact(envelope) for envelope in await recorded(connection, worker)] == [event]
