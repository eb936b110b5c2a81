"""What a request holds (a permit within the limits, a place among its key's streams) is given back once, however it
ends; and what its client is told when it is ended from outside."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import msgspec
import pytest

from api.ai_routes import CHAT
from api.answer_cache import CacheTurn
from api.open_streams import OpenStreams
from api.rate_limits import Limited
from commands.route_plan import Bounds, Candidate, Resolved, RouteAsk, RoutePlan
from commands.running import Running
from domain.catalog import Model
from domain.deployment import Route
from domain.errors import CreditExhausted, ProviderBroken, RateLimited, Unavailable
from domain.limits import Demand, Verdict
from domain.pricing import Price, Rates
from domain.request import RequestFailed
from domain.upstream import Endpoint, Reply, ReplyPiece
from tests.ai_route import Client, Gateway, Scripted
from tests.answering import House, piece, reply, used
from tests.money import ACCOUNT, AT

LAST = ReplyPiece(b"", usage=used(10, 5), finish_reason="stop", closing=b"data: [DONE]\n\n")


class Limits:
    """Gives permits, and notes what they end with."""

    headers: Sequence[tuple[bytes, bytes]] = ((b"x-ratelimit-remaining-requests", b"7"),)

    def __init__(self) -> None:
        self.refusal: Exception | None = None
        self.given = 0
        self.ends: list[tuple[int, int]] = []
        self.unpriced_nanos = 0
        self.further: list[tuple[int, int]] = []

    async def admit(self, *_: object) -> "Limits":
        if self.refusal:
            raise self.refusal
        self.given += 1
        return self

    async def admit_further(self, who: Limited, demand: Demand) -> "Limits":
        if self.refusal:
            raise self.refusal
        self.further.append((demand.tokens, demand.nanos))
        return self

    def ended(self, tokens: int, nanos: int) -> None:
        self.ends.append((tokens, nanos))


class Turns(CacheTurn):
    """A cache that is on for every route; `waits` is before its turn, `fails` what happens instead of one, or when its
    answer is to be kept."""

    def __init__(self, *, waits: bool = False, fails: Exception | None = None, fails_after: bool = False) -> None:
        self._waits = waits
        self._fails = fails
        self._fails_after = fails_after
        self.waiting = asyncio.Event()
        self.unwound = False

    def turn(self, *_: object) -> CacheTurn:
        return self

    async def is_clear(self) -> bool:
        return False

    async def wait(self) -> None:
        self.waiting.set()
        if self._waits:
            await asyncio.Event().wait()
        if self._fails and not self._fails_after:
            raise self._fails

    def keep(self, reply: Reply | None, running: Running) -> None:
        if self._fails:
            raise self._fails

    def end(self) -> None:
        self.unwound = True


def gateway(*script: Any, turns: Turns | None = None) -> tuple[Gateway, Limits, OpenStreams]:
    limits, streams = Limits(), OpenStreams(1)
    parts: dict[str, Any] = {"limits": limits, "streams": streams}
    if turns:
        parts["cache"] = turns
    return Gateway(Scripted(*script)).replace(**parts), limits, streams


ENDINGS = {
    "well": ((piece(8), LAST), (15, 30)),
    "broken at once": ((ProviderBroken("sim", "Cut."),), (0, 0)),
    "internals": ((ZeroDivisionError("internals"),), (0, 0)),
}


@pytest.mark.parametrize(("script", "used_up"), ENDINGS.values(), ids=ENDINGS)
async def test_what_is_held_is_given_back_once(script: tuple[Any, ...], used_up: tuple[int, int]) -> None:
    ours, limits, streams = gateway(*script)

    await ours.serve(Client())

    assert (limits.given, limits.ends, len(streams)) == (1, [used_up], 0)


async def test_a_whole_answer_gives_back_what_it_used() -> None:
    ours, limits, streams = gateway(reply(used(10, 5)))

    await ours.serve(Client(stream=False))

    assert (limits.ends, len(streams)) == ([(15, 30)], 0)


async def test_a_request_that_its_limits_refuse_holds_no_stream() -> None:
    ours, limits, streams = gateway()
    limits.refusal = RateLimited(Verdict(allowed=False, retry_after_s=3))
    client = Client()

    await ours.serve(client)

    assert (client.status, limits.ends, len(streams)) == (429, [], 0)


async def test_a_key_with_as_many_streams_as_it_may_have_gets_no_more_and_still_whole_answers() -> None:
    ours, limits, streams = gateway(reply(used(10, 5)))
    streams.hold(ACCOUNT)
    refused, whole = Client(), Client(stream=False)

    await ours.serve(refused)
    await ours.serve(whole)

    assert (refused.status, refused.headers[b"retry-after"]) == (429, b"1")
    assert msgspec.json.decode(refused.body)["error"]["code"] == "busy"
    assert (whole.status, limits.given, streams[ACCOUNT]) == (200, 1, 1)


async def test_a_request_without_credit_gives_its_permit_back_before_its_client_hears_of_it() -> None:
    ours, limits, _ = gateway()

    async def refuse(*_: object) -> None:
        raise CreditExhausted(5, 0)

    ours.house.handler.admit = cast(Any, refuse)
    client = Client()
    ends_when_told: list[int] = []
    client.on_message = lambda _: ends_when_told.append(len(limits.ends))

    await ours.serve(client)

    assert client.status == 402
    assert client.headers[b"x-ratelimit-remaining-requests"] == b"7"
    assert (limits.ends, set(ends_when_told)) == ([(0, 0)], {1})


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_while_it_waits_for_its_turn_is_forgotten_at_once(*, stream: bool) -> None:
    turns = Turns(waits=True)
    ours, limits, streams = gateway(turns=turns)
    client = Client(stream=stream)
    client.hung_up.set()

    await ours.serve(client)

    assert turns.unwound
    assert (limits.ends, len(streams), client.sent, ours.house.requests.events) == ([(0, 0)], 0, [], [])


async def test_a_request_that_is_cancelled_while_it_waits_for_its_turn_gives_all_back() -> None:
    turns = Turns(waits=True)
    ours, limits, streams = gateway(turns=turns)
    serving = asyncio.create_task(ours.serve(Client()))
    await turns.waiting.wait()
    serving.cancel()

    with pytest.raises(asyncio.CancelledError):
        await serving
    assert turns.unwound
    assert (limits.ends, len(streams)) == ([(0, 0)], 0)


@pytest.mark.parametrize(("error", "status"), [(Unavailable("Away."), 503), (ZeroDivisionError("internals"), 500)])
async def test_a_turn_that_fails_is_a_refusal_that_holds_nothing(error: Exception, status: int) -> None:
    ours, limits, streams = gateway(turns=Turns(fails=error))
    client = Client()

    await ours.serve(client)

    assert (client.status, limits.ends, len(streams)) == (status, [(0, 0)], 0)
    assert b"internals" not in client.body


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_cannot_be_kept_is_given_all_the_same(*, stream: bool) -> None:
    turns = Turns(fails=ZeroDivisionError("internals"), fails_after=True)
    good = (piece(8), LAST) if stream else (reply(used(10, 5)),)
    ours, limits, streams = gateway(*good, turns=turns)
    client = Client(stream=stream)

    await ours.serve(client)

    assert (client.status, client.is_told_the_end, b"internals" in client.body) == (200, True, False)
    assert (limits.ends, len(streams), turns.unwound) == ([(15, 30)], 0, True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failure", [None, ProviderBroken("sim", "Cut.")])
async def test_the_place_within_the_limits_is_free_before_the_client_hears_the_end(
    *, stream: bool, failure: Exception | None
) -> None:
    """Whoever asks one after the other, at one at a time, is never refused."""
    good = (piece(8), LAST) if stream else (reply(used(10, 5)),)
    ours, limits, _ = gateway(*((failure,) if failure else good))
    client = Client(stream=stream)
    ends_when_told: list[int] = []

    def told(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            ends_when_told.append(len(limits.ends))

    client.on_message = told
    await ours.serve(client)

    assert ends_when_told == [1]


class Dearer:
    """Whoever is asked for cannot take it: it goes to one who may write more, at a higher price."""

    def __init__(self, book: Any) -> None:
        self._book = book
        dear = Price("p2", AT, AT, Rates(input=1_000_000, output=40_000_000))
        self.other = Candidate("", Model("other", "sim", "echo", 8_000, 700), dear, "sim", "echo", "sim")

    def resolve(self, name: str, endpoint: Endpoint, at: datetime) -> Resolved:
        return self._book.resolve(name, endpoint, at)

    def plan(self, resolved: Resolved, ask: RouteAsk, bounds: Bounds) -> RoutePlan:
        asked_for, ceilings = resolved.route, bounds.ceilings_of((self.other,), ask.sizes)
        trail = (asked_for, Route(name="other", deployments=()))
        return RoutePlan(ask=ask, trail=trail, candidates=(self.other,), ceilings=ceilings)


async def test_what_it_may_use_more_where_it_falls_back_to_is_held_too_and_given_back() -> None:
    ours, limits, _ = gateway(piece(8), LAST)
    client = Client()
    ours.replace(routes=(book := Dearer(ours.parts.routes)))

    await ours.serve(client)

    ((tokens, nanos),) = limits.further
    sizes = CHAT.check(client.request_body)
    dearer, alone = (book.other, *book.resolve("sim/echo", "chat.completions", AT).candidates)
    assert tokens == sizes.max_output_tokens(dearer.model) - sizes.max_output_tokens(alone.model) > 0
    assert nanos == dearer.ceiling_nanos(sizes, 1, 0) - alone.ceiling_nanos(sizes, 1, 0)
    assert sorted(limits.ends) == [(0, 0), (15, ours.end.cost_nanos)]


async def test_a_fallback_that_is_beyond_the_limits_is_not_asked() -> None:
    ours, limits, _ = gateway(piece(8), LAST)
    ours.replace(routes=Dearer(ours.parts.routes))
    client, admit = Client(), limits.admit

    async def admit_once(*parts: object) -> Limits:
        permit = await admit(*parts)
        limits.refusal = RateLimited(Verdict(allowed=False, retry_after_s=3))
        return permit

    limits.admit = admit_once  # type: ignore[method-assign]
    await ours.serve(client)

    assert (client.status, limits.ends, ours.provider.called.is_set()) == (429, [(0, 0)], False)


async def test_who_waited_for_another_is_routed_by_the_catalogue_as_it_is_then() -> None:
    ours, _, _ = gateway(piece(8), LAST, turns=Turns())
    looked_up: list[str] = []
    resolve = ours.parts.routes.resolve

    def noted(name: str, endpoint: Endpoint, at: datetime) -> Resolved:
        looked_up.append(name)
        return resolve(name, endpoint, at)

    ours.parts.routes.resolve = noted  # type: ignore[method-assign]
    await ours.serve(Client())

    assert looked_up == ["sim/echo", "sim/echo"]


async def ended_from_outside(ours: Gateway, client: Client) -> None:
    serving = asyncio.create_task(ours.serve(client))
    await ours.provider.called.wait()
    await ours.house.settles()
    serving.cancel()
    await serving


async def test_a_stream_that_is_ended_from_outside_is_charged_and_its_client_told() -> None:
    ours, limits, streams = gateway(piece(8), asyncio.Event())
    client = Client()

    await ended_from_outside(ours, client)

    assert isinstance(ours.end, RequestFailed)
    assert (ours.end.error_kind, ours.end.evidence) == ("given_up", "estimated")
    assert client.body.startswith(piece().data)
    assert b"This server was stopped before the answer was whole." in client.body
    assert client.is_told_the_end
    assert (limits.ends, len(streams)) == ([(ours.end.tokens.total, ours.end.cost_nanos)], 0)
    assert (ours.end.cost_nanos > 0, ours.counted("failed")) == (True, 1)


async def test_a_client_that_does_not_read_when_its_stream_is_ended_from_outside_is_charged_all_the_same() -> None:
    ours, limits, streams = gateway(piece(8), piece(8), LAST)
    client, unread = Client(), asyncio.Event()

    def stop_reading(message: dict[str, Any]) -> None:
        client.stops_reading = bool(message.get("body"))
        if client.stops_reading:
            unread.set()

    client.on_message = stop_reading
    serving = asyncio.create_task(ours.serve(client))
    await unread.wait()
    await ours.house.settles()
    serving.cancel()
    await ours.house.settles()
    serving.cancel()

    with pytest.raises(asyncio.CancelledError):
        await serving
    assert ours.end.cost_nanos > 0
    assert (limits.ends, len(streams)) == ([(ours.end.tokens.total, ours.end.cost_nanos)], 0)


async def test_a_whole_answer_that_is_ended_from_outside_is_charged_and_must_not_be_asked_for_again_blindly() -> None:
    ours, limits, _ = gateway(asyncio.Event())
    client = Client(stream=False)

    await ended_from_outside(ours, client)

    assert (client.status, client.headers[b"x-should-retry"]) == (503, b"false")
    assert client.headers[b"x-agg-cost-usd"] != b"0.00"
    assert limits.ends == [(ours.end.tokens.total, ours.end.cost_nanos)]


async def test_whoever_closes_waits_until_all_ends_are_recorded() -> None:
    """The lease of a request whose end is not in the log must not be given back before it is."""
    house = House(Scripted(asyncio.Event()))
    running = await house.admit()
    answering = asyncio.create_task(house.handler.complete(running))
    await asyncio.sleep(0)
    answering.cancel()
    await asyncio.wait([answering])

    await house.handler.aclose()

    assert house.requests.end is running.end
