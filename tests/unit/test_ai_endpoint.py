"""From the provider's pieces to the client's bytes: what clients do in between, and what they are told of failures."""

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from api.ai_answer import KEEP_ALIVE
from domain.errors import OutcomeUnknown, ProviderBroken, ProviderRefused
from domain.request import RequestCompleted, RequestEnd, RequestFailed
from domain.upstream import Endpoint, ReplyPiece
from tests.ai_route import ENDPOINTS, Client, Gateway, Scripted
from tests.answering import piece, reply, used
from tests.provider_ways import WELL_ENDED

CLOSING = b"data: all is well\n\n"
LAST = ReplyPiece(b"", usage=used(10, 5), finish_reason="stop", closing=CLOSING)
every_dialect = pytest.mark.parametrize("endpoint", ENDPOINTS)


async def served(client: Client, *script: Any, dropped: Sequence[str] = ()) -> Gateway:
    gateway = Gateway(Scripted(*script, dropped=dropped), client.endpoint)
    await gateway.serve(client)
    return gateway


@every_dialect
async def test_a_good_stream_ends_with_its_receipt_and_its_closing_once_its_charge_is_durable(
    endpoint: Endpoint,
) -> None:
    client = Client(endpoint)

    gateway = await served(client, piece(8), LAST)

    assert (client.status, client.headers[b"content-type"]) == (200, b"text/event-stream; charset=utf-8")
    assert client.body.startswith(piece().data + b": x-agg-cost-usd: 0.00000003\n: x-agg-position: REQ:2\n\n")
    assert client.body.endswith(CLOSING)
    assert client.is_told_the_end
    assert (gateway.end.cost_nanos, gateway.counted("completed")) == (30, 1)


async def test_a_good_answer_says_what_it_cost() -> None:
    client = Client(stream=False)

    await served(client, reply(used(10, 5)))

    assert (client.status, client.body, client.is_told_the_end) == (200, b"{}", True)
    assert (client.headers[b"x-agg-cost-usd"], client.headers[b"x-agg-position"]) == (b"0.00000003", b"REQ:2")


async def test_a_client_that_leaves_before_its_request_is_whole_leaves_nothing() -> None:
    client = Client(whole=False)
    client.hung_up.set()

    gateway = await served(client)

    assert (client.sent, gateway.house.requests.events) == ([], [])


async def test_a_client_that_leaves_before_the_first_piece_is_charged_for_the_whole_answer() -> None:
    client, going_on = Client(), asyncio.Event()
    provider = Scripted(going_on, piece(8), LAST)
    gateway = Gateway(provider)
    serving = asyncio.create_task(gateway.serve(client))
    await provider.called.wait()
    client.hung_up.set()
    await gateway.house.settles()
    going_on.set()
    await serving

    assert isinstance(gateway.end, RequestCompleted)
    assert (gateway.end.client_gone, gateway.end.cost_nanos) == (True, 30)
    assert client.sent == []


async def test_a_client_that_leaves_after_the_first_piece_is_charged_for_the_whole_answer() -> None:
    client, going_on = Client(), asyncio.Event()
    gateway = Gateway(Scripted(piece(8), going_on, piece(8), LAST))
    serving = asyncio.create_task(gateway.serve(client))
    client.on_message = lambda message: client.hung_up.set() if message.get("body") else None
    await client.hung_up.wait()
    await gateway.house.settles()
    going_on.set()
    await serving

    assert (gateway.end.client_gone, gateway.end.cost_nanos) == (True, 30)
    assert (client.body, client.is_told_the_end) == (piece().data, False)


async def test_a_client_that_stops_reading_is_given_up_and_its_answer_still_accounted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.ai_answer.SLOW_CLIENT_S", 0.01)
    client = Client()
    client.on_message = lambda message: setattr(client, "stops_reading", bool(message.get("body")))

    gateway = await served(client, piece(8), piece(8), piece(8), LAST)

    assert isinstance(gateway.end, RequestCompleted)
    assert (gateway.end.client_gone, gateway.end.cost_nanos) == (True, 30)
    assert client.body == piece().data


async def test_a_client_that_reads_nothing_at_all_is_given_up_and_its_answer_still_accounted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even the status: it left a former answer on the same connection unread."""
    monkeypatch.setattr("api.ai_answer.SLOW_CLIENT_S", 0.01)
    streaming, waiting = Client(), Client(stream=False)
    streaming.stops_reading = waiting.stops_reading = True

    streamed = await served(streaming, piece(8), piece(8), LAST)
    whole = await served(waiting, reply(used(10, 5)))

    assert (streamed.end.cost_nanos, whole.end.cost_nanos) == (30, 30)
    assert (streaming.sent, waiting.sent) == ([], [])


async def test_a_client_that_stops_reading_does_not_keep_a_failed_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.ai_answer.SLOW_CLIENT_S", 0.01)
    client = Client()
    client.on_message = lambda message: setattr(client, "stops_reading", bool(message.get("body")))

    gateway = await served(client, piece(8), ProviderBroken("sim", "Cut."))

    assert isinstance(gateway.end, RequestFailed)
    assert (gateway.end.evidence, gateway.counted("failed")) == ("estimated", 1)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failure", [None, ProviderBroken("sim", "Cut.")])
async def test_a_connection_that_is_gone_when_the_answer_comes_harms_nobody(
    *, stream: bool, failure: Exception | None
) -> None:
    client = Client(stream=stream)
    client.is_gone = True
    good = (piece(8), LAST) if stream else (reply(used(10, 5)),)

    gateway = await served(client, *((failure,) if failure else good))

    assert (gateway.end.cost_nanos, client.sent) == (0 if failure else 30, [])
    assert gateway.counted("failed" if failure else "completed") == 1


@every_dialect
async def test_a_silent_provider_is_bridged_by_comments_and_its_answer_follows(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.ai_answer.KEEP_ALIVE_S", 0.001)
    client, going_on = Client(endpoint), asyncio.Event()
    client.on_message = lambda message: going_on.set() if message.get("body") == KEEP_ALIVE else None

    await served(client, going_on, piece(8), LAST)

    assert client.status == 200
    assert client.body.startswith(KEEP_ALIVE)
    assert client.body.endswith(CLOSING)


async def test_a_connection_that_is_gone_takes_no_comment_and_leaves_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.ai_answer.KEEP_ALIVE_S", 0.001)
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    client, going_on = Client(), asyncio.Event()
    client.is_gone, client.on_refused = True, going_on.set

    gateway = await served(client, going_on, piece(8), LAST)
    gc.collect()

    assert (gateway.end.cost_nanos, gateway.end.client_gone, noise) == (30, True, [])


FAILURES = [
    ProviderRefused("sim", "Not now.", status=429, retry_after_s=7.0),
    ProviderRefused("sim", "Your key sk-1 is bad.", status=401),
    ProviderBroken("sim", "Line one\nline two\r\n\r\ndata: [DONE]\n\n"),
    ZeroDivisionError("internals"),
]


@every_dialect
@pytest.mark.parametrize("failure", FAILURES, ids=[type(failure).__name__ for failure in FAILURES])
async def test_a_failure_after_a_keep_alive_is_one_event_in_the_dialects_own_words(
    endpoint: Endpoint, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.ai_answer.KEEP_ALIVE_S", 0.001)
    client, going_on = Client(endpoint), asyncio.Event()
    client.on_message = lambda message: going_on.set() if message.get("body") == KEEP_ALIVE else None

    gateway = await served(client, going_on, failure)

    assert (client.status, client.is_told_the_end, gateway.end.cost_nanos) == (200, True, 0)
    told = client.body.replace(KEEP_ALIVE, b"")
    *lines, data, _, _ = told.split(b"\n")
    assert lines == ([] if endpoint == "chat.completions" else [b"event: error"])
    error = msgspec.json.decode(data.removeprefix(b"data: "))
    assert error["error"]["message"]
    assert not any(line.startswith(WELL_ENDED[endpoint]) for line in told.split(b"\n"))
    assert b"internals" not in told
    assert b"sk-1" not in told


@every_dialect
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_anything_has_a_status_of_its_own(endpoint: Endpoint, *, stream: bool) -> None:
    client = Client(endpoint, stream=stream)

    await served(client, ProviderRefused("sim", "Not now.", status=429, retry_after_s=7.0))

    assert (client.status, client.headers[b"retry-after"], client.is_told_the_end) == (429, b"7", True)
    assert client.headers[b"x-agg-cost-usd"] == b"0.00"
    assert int(client.headers[b"content-length"]) == len(client.body)


@every_dialect
async def test_all_is_well_never_goes_out_when_the_end_could_not_be_recorded(endpoint: Endpoint) -> None:
    client = Client(endpoint)
    gateway = Gateway(Scripted(piece(8), LAST), endpoint)
    gateway.house.requests.fails = lambda event: OutcomeUnknown("No answer.") if isinstance(event, RequestEnd) else None

    await gateway.serve(client)

    assert CLOSING not in client.body
    assert b"No answer." in client.body
    assert client.is_told_the_end


async def test_an_answer_whose_end_could_not_be_recorded_is_not_given() -> None:
    client = Client(stream=False)
    gateway = Gateway(Scripted(reply(used(10, 5))))
    gateway.house.requests.fails = lambda event: OutcomeUnknown("No answer.") if isinstance(event, RequestEnd) else None

    await gateway.serve(client)

    assert (client.status, client.headers[b"x-should-retry"]) == (503, b"false")


@pytest.mark.parametrize("stream", [False, True])
async def test_names_that_were_dropped_cannot_write_headers_of_their_own(*, stream: bool) -> None:
    client = Client(stream=stream)
    names = ["seed", "a\r\nset-cookie: x=1", "ü\0\x7f", "\ud800", "n" * 100_000]

    await served(client, *((LAST,) if stream else (reply(used(10, 5)),)), dropped=names)

    said = client.headers[b"x-agg-dropped"]
    assert said.startswith(b"seed, a??set-cookie: x=1, ???, ?, nnn")
    assert len(said) == 2_000


async def test_a_model_that_the_client_named_cannot_write_headers_of_its_own() -> None:
    client = Client()
    gateway = Gateway(Scripted(LAST), model="sim/a\r\nset-cookie: x=1")

    await gateway.serve(client)

    assert client.headers[b"x-agg-model"] == b"sim/a??set-cookie: x=1"
