"""Competitors' bugs between a client and a provider, by what went wrong."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.http import ProviderHttp
from api.ai_routes import ai_endpoints
from api.answer_cache import BYPASS, CacheTurn
from api.connections import Connections
from api.open_streams import OpenStreams
from api.providers import VENDORS, Account
from api.settings import load_settings
from commands.running import Running
from domain.deployment import Deployment
from domain.errors import CreditExhausted, ProviderBroken, RateLimited
from domain.limits import Rule, State, Verdict
from domain.request import RequestAdmitted, RequestCompleted, RequestEnd
from domain.upstream import Endpoint, Reply, ReplyPiece
from tests.ai_route import ROUTES, Client, Gateway, Scripted
from tests.answering import piece, reply, used

WHOLE = reply(used(10, 5))
LAST = ReplyPiece(b"", usage=used(10, 5), finish_reason="stop", closing=b"data: closing\n\n")
STREAM = (piece(8), piece(8), piece(8), LAST)
STREAMED: list[Endpoint] = [endpoint for endpoint in ROUTES if endpoint != "embeddings"]
EACH: Sequence[tuple[Endpoint, bool]] = [*((each, False) for each in ROUTES), *((each, True) for each in STREAMED)]
each_route = pytest.mark.parametrize(("endpoint", "stream"), EACH)


class Boom(Exception):
    """What nobody expected."""


class Limits:
    """Counts what is held."""

    headers: Sequence[tuple[bytes, bytes]] = ()
    unpriced_nanos = 0

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal = refusal
        self.asked = 0
        self.held = 0

    async def admit(self, *_: object) -> "Limits":
        self.asked += 1
        if self.refusal:
            raise self.refusal
        self.held += 1
        return self

    def ended(self, tokens: int, nanos: int) -> None:
        self.held -= 1


class Turns:
    """A cache that is on; `fails` is raised instead of a turn."""

    def __init__(self, turn: CacheTurn = BYPASS, fails: Exception | None = None) -> None:
        self._turn = turn
        self._fails = fails

    def turn(self, *_: object) -> CacheTurn:
        if self._fails:
            raise self._fails
        return self._turn


def raising(*_: object) -> Any:
    raise Boom


async def failing(*_: object) -> Any:
    raise Boom


def nothing(*_: object) -> None:
    return


def _boom(*_: object) -> Exception:
    return Boom()


def test_every_route_is_among_those_that_are_tried_here() -> None:
    """But for the one that is free."""
    paths = ai_endpoints(cast(Any, None), {}).keys() - {"/messages/count_tokens"}

    assert {path[1:].replace("/", ".") for path in paths} == ROUTES.keys()


@each_route
async def test_bug_a_route_wrote_its_spend_twice_or_without_tokens(endpoint: Endpoint, *, stream: bool) -> None:
    """Some routes were charged by two callbacks, others by none."""
    gateway = Gateway(Scripted(*STREAM) if stream else Scripted(WHOLE), endpoint)

    await gateway.serve(Client(endpoint, stream=stream))

    admitted, end = gateway.house.requests.events
    assert isinstance(admitted, RequestAdmitted)
    assert isinstance(end, RequestCompleted)
    assert (end.evidence, end.tokens.total, end.cost_nanos > 0) == ("reported", 15, True)
    assert (admitted.endpoint, gateway.counted("completed")) == (endpoint, 1)


@each_route
async def test_bug_a_route_reached_its_provider_past_the_budget(endpoint: Endpoint, *, stream: bool) -> None:
    """Passthrough routes were not held against it."""
    provider = Scripted(*STREAM) if stream else Scripted(WHOLE)
    gateway, client = Gateway(provider, endpoint), Client(endpoint, stream=stream)

    async def no_credit(*_: object) -> Any:
        raise CreditExhausted(5, 0)

    gateway.house.leases.reserve = cast(Any, no_credit)
    gateway.house.leases.try_reserve = cast(Any, nothing)

    await gateway.serve(client)

    assert (client.status, client.headers[b"x-should-retry"]) == (402, b"false")
    assert (provider.called.is_set(), gateway.house.requests.events) == (False, [])


@each_route
async def test_bug_a_route_did_not_count_against_a_limit(endpoint: Endpoint, *, stream: bool) -> None:
    rule = Rule("key", "k", "requests", "minute", 1)
    refused = RateLimited(Verdict(False, (State(rule, 0, 7),), rule, 7))
    provider, limits = Scripted(*STREAM) if stream else Scripted(WHOLE), Limits(refused)
    gateway, client = Gateway(provider, endpoint).replace(limits=limits), Client(endpoint, stream=stream)

    await gateway.serve(client)

    assert (client.status, client.headers[b"retry-after"], limits.asked) == (429, b"7", 1)
    assert (provider.called.is_set(), gateway.house.requests.events) == (False, [])


class _BadTape(CacheTurn):
    def pass_by(self, piece: ReplyPiece) -> None:
        raise Boom

    def keep(self, reply: Reply | None, running: Running) -> None:
        raise Boom


CRASHES: dict[str, Callable[[Gateway], Any]] = {
    "authentication": lambda ours: ours.replace(authenticator=SimpleNamespace(admit=failing)),
    "routing": lambda ours: setattr(ours.parts.routes, "plan", raising),
    "limits": lambda ours: ours.replace(limits=Limits(Boom())),
    "names": lambda ours: ours.replace(routes=SimpleNamespace(resolve=raising)),
    "cache": lambda ours: ours.replace(cache=Turns(fails=Boom())),
    "cache tape": lambda ours: ours.replace(cache=Turns(_BadTape())),
    "translation": lambda ours: setattr(ours.provider, "prepare", raising),
    "credit": lambda ours: setattr(ours.house.leases, "try_reserve", raising),
    "log": lambda ours: setattr(ours.house.requests, "fails", _boom),
    "provider": lambda ours: setattr(ours.provider, "steps", (Boom(),)),
    "stream": lambda ours: setattr(ours.provider, "steps", (piece(8), Boom())),
}
"""A bug in each part that a request goes through."""


@pytest.mark.parametrize("breaks", CRASHES.values(), ids=CRASHES)
async def test_bug_a_crash_left_its_reservation_behind_and_the_next_request_was_refused(
    breaks: Callable[[Gateway], Any],
) -> None:
    """Keys were turned away at a fraction of their budget. Whatever breaks: nothing is held, each admission has one
    end, and the client is not told that all is well."""
    limits, streams = Limits(), OpenStreams(1)
    gateway = Gateway(Scripted(*STREAM)).replace(limits=limits, streams=streams)
    breaks(gateway)
    client = Client()

    await gateway.serve(client)

    assert (limits.held, len(streams), gateway.house.reserved) == (0, 0, 0)
    events = gateway.house.requests.events
    ends = [event for event in events if isinstance(event, RequestEnd)]
    assert len(ends) == len(events) - len(ends) <= 1
    assert LAST.closing not in client.body
    assert client.is_told_the_end


class _FullCache(CacheTurn):
    def keep(self, reply: Reply | None, running: Running) -> None:
        raise Boom


@each_route
async def test_bug_an_answer_that_could_not_be_kept_was_followed_by_an_error(
    endpoint: Endpoint, *, stream: bool
) -> None:
    gateway = Gateway(Scripted(*STREAM) if stream else Scripted(WHOLE), endpoint).replace(cache=Turns(_FullCache()))
    client = Client(endpoint, stream=stream)

    await gateway.serve(client)

    assert client.status == 200
    assert [message.get("more_body", False) for message in client.sent[1:]].count(False) == 1
    assert client.body.endswith(LAST.closing if stream else WHOLE.body)
    assert gateway.counted("completed") == 1


@pytest.mark.parametrize("endpoint", STREAMED)
@given(gone_at=st.integers(0, 12), reads_on=st.booleans())
def test_bug_a_client_that_left_paid_nothing_or_too_much(endpoint: Endpoint, gone_at: int, *, reads_on: bool) -> None:
    """Wherever it hangs up, it pays what the provider reports: as much as a client that stays."""

    async def ask() -> RequestEnd:
        gateway, client, heard = Gateway(Scripted(*STREAM), endpoint), Client(endpoint), 0

        def hang_up(_: object) -> None:
            nonlocal heard
            heard += 1
            if heard >= gone_at:
                client.hung_up.set()
                client.is_gone = not reads_on

        if gone_at:
            client.on_message = hang_up
        await gateway.serve(client)
        return gateway.end

    end = asyncio.run(ask())

    assert isinstance(end, RequestCompleted)
    assert (end.evidence, end.tokens.total, end.cost_nanos) == ("reported", 15, 30)


@pytest.mark.parametrize("words", ["x" * 40_000, "You are charged for this. " * 1_000])
async def test_bug_the_text_of_an_error_was_billed_as_output(words: str) -> None:
    gateway = Gateway(Scripted(ProviderBroken("sim", words)))
    client = Client()

    await gateway.serve(client)

    assert (client.status, gateway.end.cost_nanos, gateway.end.evidence) == (502, 0, "none")


@pytest.mark.parametrize("depth", [1_000, 100_000, 1_000_000])
@each_route
async def test_bug_a_body_nested_without_end_brought_the_gateway_down(
    endpoint: Endpoint, depth: int, *, stream: bool
) -> None:
    """In a member that nobody reads, so that it would pass through."""
    provider, client = Scripted(*STREAM) if stream else Scripted(WHOLE), Client(endpoint, stream=stream)
    client.request_body = client.request_body[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"
    gateway = Gateway(provider, endpoint)

    await gateway.serve(client)

    assert client.status == 400
    assert b"nested too deeply" in client.body
    assert (provider.called.is_set(), gateway.house.requests.events) == (False, [])


async def test_bug_what_only_the_translation_finds_too_deep_was_our_own_failure() -> None:
    """It reads further down, so it runs out of depth before the check does."""
    gateway, client = Gateway(Scripted(WHOLE)), Client(stream=False)

    def prepare(*_: object) -> Any:
        raise RecursionError

    cast(Any, gateway.provider).prepare = prepare
    await gateway.serve(client)

    assert client.status == 400
    assert msgspec.json.decode(client.body)["error"]["code"] == "invalid_json"
    assert gateway.house.reserved == 0


async def test_bug_a_connection_was_closed_under_a_running_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client was evicted from a cache, and closed, while others still used it."""
    closed: list[str] = []
    account = Account("openai", VENDORS["openai"], "http://127.0.0.1:1/v1", "usual")
    settings = load_settings({"A_KEY": "one", "B_KEY": "two"})
    deployments = [
        Deployment(name="d", model="gpt", provider="openai", upstream_model="gpt", key_ref=name)
        for name in ("A_KEY", "B_KEY")
    ]

    async def note(http: ProviderHttp) -> None:
        closed.append(http.provider)

    monkeypatch.setattr(ProviderHttp, "close", note)
    async with AsyncExitStack() as stack:
        connections = Connections({}, {"openai": account}, settings, stack)
        await connections.keep(deployments[:1])
        in_use = connections[deployments[0].connection]
        await connections.keep(deployments[1:])

        assert connections[deployments[1].connection] is not in_use
        assert closed == []
    assert len(closed) == 2


async def test_bug_one_deployment_that_could_not_be_opened_kept_all_others_from_being_opened() -> None:
    usual = Account("openai", VENDORS["openai"], "http://127.0.0.1:1/v1", "usual")
    fine = Deployment(
        name="fine", model="gpt", provider="openai", upstream_model="gpt", base_url="http://127.0.0.1:2/v1"
    )
    bad = msgspec.structs.replace(fine, name="bad", base_url=f"https://{'x' * 64}.example.com/v1")
    async with AsyncExitStack() as stack:
        connections = Connections({}, {"openai": usual}, load_settings({}), stack)
        for _ in range(2):
            await connections.keep([bad, fine])

        assert (bad.connection in connections, fine.connection in connections) == (False, True)
        assert connections.version == 1


async def test_bug_streams_of_one_key_took_every_connection() -> None:
    house_of_streams = OpenStreams(3)
    gateways = [Gateway(Scripted(piece(8), asyncio.Event(), LAST)).replace(streams=house_of_streams) for _ in range(5)]
    clients = [Client() for _ in gateways]

    serving = [asyncio.create_task(ours.ask(client)) for ours, client in zip(gateways, clients, strict=True)]
    await asyncio.gather(*(ours.provider.called.wait() for ours in gateways[:3]))
    await asyncio.gather(*serving[3:])

    assert [client.status for client in clients[3:]] == [429, 429]
    for ours in gateways[:3]:
        cast(asyncio.Event, ours.provider.steps[1]).set()
    await asyncio.gather(*serving)
    assert [client.status for client in clients[:3]] == [200, 200, 200]
    assert len(house_of_streams) == 0
