"""An answer that was kept, given again: nobody is asked, one fact is recorded, and the shape is that of the first."""

from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from adapters.single_flight import SingleFlight
from api.answer_cache import AnswerCache
from api.given_again import GivenAgain
from api.similar_answers import SimilarAnswers
from commands.answer_from_cache import AnswerFromCache
from domain.errors import Unavailable
from domain.request import RequestCached, RequestEvent
from domain.response_cache import CachePolicy
from domain.upstream import Endpoint, ReplyPiece
from tests.ai_route import ENDPOINTS, Client, Gateway, Scripted
from tests.answering import piece, reply, used
from tests.caching import InMemoryResponseCache, InMemorySemanticIndex, LetterEmbedder
from tests.unit.test_ai_endpoint_holds import Limits

LAST = ReplyPiece(b"", usage=used(10, 5), finish_reason="stop", closing=b"data: all is well\n\n")
every_dialect = pytest.mark.parametrize("endpoint", ENDPOINTS)


class CachingGateway:
    """One route whose answers are kept."""

    def __init__(self, *script: Any, endpoint: Endpoint = "chat.completions", hit_percent: int = 0) -> None:
        policy, self.cache = CachePolicy(ttl_s=60, hit_percent=hit_percent), InMemoryResponseCache()
        flights = SingleFlight(self.cache)
        similar = SimilarAnswers(self.cache, InMemorySemanticIndex(), LetterEmbedder(), lambda: datetime.now(UTC))
        self.gateway, self.limits = Gateway(Scripted(*script), endpoint), Limits()
        house = self.gateway.house
        hits = AnswerFromCache(house.leases, house.requests, house.clock)
        self.gateway.replace(
            cache=AnswerCache(self.cache, flights, similar, lambda _: policy),
            given_again=GivenAgain(hits, self.gateway.parts.telemetry),
            limits=self.limits,
        )
        self.endpoint: Endpoint = endpoint

    async def ask(self, *, stream: bool = False, **headers: str) -> Client:
        client = Client(self.endpoint, stream=stream)
        said = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await self.gateway.ask(client, said)
        assert self.gateway.house.reserved == 0
        return client

    @property
    def events(self) -> list[RequestEvent]:
        return self.gateway.house.requests.events

    @property
    def hit(self) -> RequestCached:
        """The last thing that was recorded."""
        return cast(RequestCached, self.events[-1])


@every_dialect
async def test_a_stream_is_given_again_with_its_receipt_before_its_closing(endpoint: Endpoint) -> None:
    ours = CachingGateway(piece(8), LAST, endpoint=endpoint)
    first = await ours.ask(stream=True)
    again = await ours.ask(stream=True)

    assert (again.headers[b"x-agg-cache"], again.headers[b"content-type"]) == (b"hit", first.headers[b"content-type"])
    assert again.body == piece().data + b": x-agg-cost-usd: 0.00\n: x-agg-position: REQ:3\n\n" + LAST.closing
    assert again.is_told_the_end


async def test_a_hit_is_one_free_fact_and_says_who_made_the_answer() -> None:
    ours = CachingGateway(reply(used(10, 5)))
    first = await ours.ask()
    again = await ours.ask()

    assert (first.headers[b"x-agg-cache"], again.headers[b"x-agg-cache"]) == (b"miss", b"hit")
    assert again.body == first.body
    assert again.headers[b"x-agg-provider"] == first.headers[b"x-agg-provider"]
    assert (again.headers[b"x-agg-cost-usd"], again.headers[b"x-agg-attempts"]) == (b"0.00", b"0")
    assert (again.headers[b"x-agg-position"], len(ours.events)) == (b"REQ:3", 3)
    assert (ours.hit.cost_nanos, ours.hit.saved_nanos) == (0, 30)
    assert (ours.hit.model, ours.hit.route) == ("sim/echo", "sim/echo")
    assert ours.gateway.counted("completed") == 2


async def test_a_hit_counts_as_a_request_that_used_nothing_before_its_client_hears_of_it() -> None:
    ours = CachingGateway(reply(used(10, 5)))
    await ours.ask()
    client = Client(stream=False)
    ends_when_told: list[int] = []
    client.on_message = lambda _: ends_when_told.append(len(ours.limits.ends))
    await ours.gateway.ask(client)

    assert (ours.limits.given, ours.limits.ends) == (2, [(15, 30), (0, 0)])
    assert set(ends_when_told) == {2}


async def test_a_hit_of_a_route_that_charges_for_them_costs_its_share() -> None:
    ours = CachingGateway(reply(used(10, 5)), hit_percent=10)
    await ours.ask()
    again = await ours.ask()

    assert (ours.hit.cost_nanos, ours.hit.saved_nanos) == (3, 27)
    assert again.headers[b"x-agg-cost-usd"] == b"0.000000003"
    assert ours.limits.ends[-1] == (0, 3)


async def test_an_answer_is_not_given_again_when_that_cannot_be_recorded() -> None:
    ours = CachingGateway(reply(used(10, 5)))
    await ours.ask()
    ours.gateway.house.requests.fails = lambda _: Unavailable("Away.")
    ours.gateway.house.requests.loses = True
    refused = await ours.ask()

    assert (refused.status, b"{}" in refused.body) == (503, False)
    assert (ours.limits.ends[-1], len(ours.events)) == ((0, 0), 2)


async def test_who_wants_a_new_answer_gets_one_and_it_takes_the_place_of_the_old() -> None:
    ours = CachingGateway(reply(used(10, 5)))
    statuses = [
        (await ours.ask(cache_control=said)).headers[b"x-agg-cache"]
        for said in ("max-age=60", "no-cache", "max-age=60", "no-store")
    ]

    assert statuses == [b"miss", b"miss", b"hit", b"bypass"]
    assert len(ours.cache.kept_for) == 2


async def test_a_client_that_is_gone_harms_nobody() -> None:
    ours = CachingGateway(reply(used(10, 5)))
    await ours.ask()
    client = Client(stream=False)
    client.is_gone = True
    await ours.gateway.ask(client)

    assert (client.sent, type(ours.hit)) == ([], RequestCached)


async def test_a_failed_answer_is_not_kept() -> None:
    ours = CachingGateway(ZeroDivisionError("internals"))
    failed = [await ours.ask() for _ in range(2)]

    assert {client.headers[b"x-agg-cache"] for client in failed} == {b"miss"}
    assert (ours.cache.answers, ours.cache.leads) == ({}, {})
    assert msgspec.json.decode(failed[0].body)["error"]
