"""What JetStreamEventLog says when the network fails is what the log holds, on one server and on a cluster."""

import asyncio
import random

import pytest
from nats.aio.client import Client

from adapters.jetstream_event_log import JetStreamEventLog
from adapters.nats_connection import connect_nats
from domain.errors import AggregatorError, Conflict, OutcomeUnknown, Unavailable
from domain.ports import Append
from tests.contract.conftest import eventually, until
from tests.contract.test_event_log import events, idents, somewhere, stored
from tests.tcp_proxy import tcp_proxy


@pytest.mark.parametrize("count", [1, 3])
async def test_a_lost_answer_is_resolved_by_reading(connection: Client, nats_url: str, count: int) -> None:
    direct = JetStreamEventLog(connection)
    address, given = somewhere(), events(count)
    async with tcp_proxy(nats_url) as proxy:
        client = await connect_nats(proxy.url, "behind the proxy")
        log = JetStreamEventLog(client)
        await log.last(address)

        proxy.deaf = True
        appending = asyncio.create_task(log.append([Append(address, 0, given)]))
        await eventually(lambda: direct.last(address))
        proxy.deaf = False

        (position,) = await appending
        await client.close()
    last = await direct.last(address)
    assert last is not None
    assert last.position == position
    assert await stored(direct, address) == idents(given)


async def test_a_lost_answer_is_success_even_under_somebody_elses_event(connection: Client, nats_url: str) -> None:
    direct = JetStreamEventLog(connection)
    address, given, other = somewhere(), events(3), events()
    async with tcp_proxy(nats_url) as proxy:
        client = await connect_nats(proxy.url, "behind the proxy")
        log = JetStreamEventLog(client)
        await log.last(address)

        proxy.deaf = True
        appending = asyncio.create_task(log.append([Append(address, 0, given)]))
        last = await eventually(lambda: direct.last(address))
        await direct.append([Append(address, last.position, other)])
        proxy.deaf = False

        assert await appending == [last.position]
        await client.close()
    assert await stored(direct, address) == idents([*given, *other])


async def test_silence_to_the_end_is_an_unknown_outcome(connection: Client, nats_url: str) -> None:
    direct = JetStreamEventLog(connection)
    address, given = somewhere(), events()
    async with tcp_proxy(nats_url) as proxy:
        client = await connect_nats(proxy.url, "behind the proxy")
        log = JetStreamEventLog(client, deadline_s=0.3)
        await log.last(address)

        proxy.deaf = True
        with pytest.raises(OutcomeUnknown):
            await log.append([Append(address, 0, given)])
        await client.close()
    assert await stored(direct, address) == idents(given)
    await direct.append([Append(address, 0, given)])
    assert await stored(direct, address) == idents(given)


async def test_without_a_connection_nothing_was_recorded(connection: Client, nats_url: str) -> None:
    async with tcp_proxy(nats_url) as proxy:
        client = await connect_nats(proxy.url, "behind the proxy")
    await until(lambda: not client.is_connected)

    with pytest.raises(Unavailable) as refusal:
        await JetStreamEventLog(client, deadline_s=0.2).append([Append(somewhere(), 0, events())])

    assert not isinstance(refusal.value, OutcomeUnknown)
    assert not client._resp_map  # nats-py keeps requests that it could not send
    await client.close()


async def test_a_stream_that_is_not_there_is_unavailable(connection: Client) -> None:
    missing = JetStreamEventLog(connection, stream="NOWHERE")
    with pytest.raises(Unavailable, match="agg migrate"):
        await missing.last(somewhere())


async def test_an_id_used_for_another_subject_is_never_taken_for_success(connection: Client) -> None:
    log, given = JetStreamEventLog(connection), events()
    await log.append([Append(somewhere(), 0, given)])
    other = somewhere()

    with pytest.raises(Conflict):
        await log.append([Append(other, 0, given)])

    assert await log.last(other) is None


async def test_an_event_larger_than_the_server_takes_is_refused_before_it_is_sent(connection: Client) -> None:
    log = JetStreamEventLog(connection)
    large = events(1, b'"' + b"x" * connection.max_payload + b'"')

    with pytest.raises(ValueError, match="larger than"):
        await log.append([Append(somewhere(), 0, large)])

    assert connection.is_connected


async def test_what_each_writer_was_told_is_what_the_log_holds(connection: Client, nats_url: str) -> None:
    """Writers of few aggregates behind a network that is cut, deafened and frozen at random."""
    direct, chance = JetStreamEventLog(connection), random.Random(7)
    addresses = [somewhere() for _ in range(4)]
    told: list[tuple[list[Append], list[int] | AggregatorError]] = []
    async with tcp_proxy(nats_url) as proxy:
        client = await connect_nats(proxy.url, "behind the proxy")
        log = JetStreamEventLog(client, deadline_s=3.0)
        stop = asyncio.Event()

        async def write() -> None:
            while not stop.is_set():
                appends = [
                    Append(address, last.position if (last := await direct.last(address)) else 0, events(size))
                    for address, size in zip(chance.sample(addresses, chance.randint(1, 3)), (1, 2, 1), strict=False)
                ]
                try:
                    told.append((appends, await log.append(appends)))
                except AggregatorError as refusal:
                    told.append((appends, refusal))

        writers = [asyncio.create_task(write()) for _ in range(6)]
        for _ in range(3):
            proxy.deaf = True
            await asyncio.sleep(chance.uniform(0.02, 0.1))
            proxy.deaf = False
            proxy.cut()
            await asyncio.sleep(chance.uniform(0.3, 0.6))
            proxy.freeze()
            await asyncio.sleep(chance.uniform(0.02, 0.2))
            proxy.thaw()
            await asyncio.sleep(chance.uniform(0.3, 0.6))
        stop.set()
        await asyncio.gather(*writers)
        await client.close()

    held = {address: await direct.history(address) for address in addresses}
    places = {event.envelope.id: event.position for events in held.values() for event in events}
    assert len(places) == sum(map(len, held.values()))
    for appends, outcome in told:
        found = [[places.get(ident) for ident in idents(append.events)] for append in appends]
        if isinstance(outcome, list):
            assert [each[-1] for each in found] == outcome
        elif not isinstance(outcome, OutcomeUnknown):
            assert not any(any(each) for each in found)
        assert len({position is None for each in found for position in each}) == 1
    assert sum(isinstance(outcome, list) for _, outcome in told) > 3
