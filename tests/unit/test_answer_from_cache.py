"""An answer from the cache is one fact: durable before it is given, charged by its route's price, and free of that
without credit."""

import asyncio
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.answer_from_cache import AnswerFromCache, HitFacts
from domain.errors import Busy, CreditExhausted, OutcomeUnknown, Unavailable
from domain.ids import AccountId, KeyId, RequestId, UserId
from domain.request import CACHE_HIT, NO_LEASE, SEMANTIC_CACHE_HIT, RequestCached, RequestEvent
from domain.response_cache import CachedAnswer, CachePolicy
from tests.caching import an_answer, until
from tests.money import ACCOUNT, AT, give_credit
from tests.settling import CREDIT, SettlingHouse

COST = 1_000
KEPT = msgspec.structs.replace(an_answer(), model="gpt-2026", catalogue_model="gpt", cost_nanos=COST)
FREE = CachePolicy(ttl_s=60)
TENTH = CachePolicy(ttl_s=60, hit_percent=10)


class CacheHouse(SettlingHouse):
    """A worker that answers from the cache. `refusal` is what its log says to events; they wait until `held` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.refusal: Exception | None = None
        self.held = asyncio.Event()
        self.held.set()
        self.cache = AnswerFromCache(self.leases, self, self.clock)

    async def append(self, event: RequestEvent) -> int:
        await self.held.wait()
        if self.refusal is not None and not isinstance(self.refusal, OutcomeUnknown):
            raise self.refusal
        position = await self.requests.append(event)
        if self.refusal is not None:
            raise self.refusal
        return position

    async def hit(
        self, policy: CachePolicy = TENTH, answer: CachedAnswer = KEPT, request: str = "r"
    ) -> tuple[RequestCached, int]:
        started_s = time.perf_counter()
        facts = HitFacts(RequestId(request), ACCOUNT, KeyId("k"), UserId("u"), started_s, "fast", answer, policy)
        return await self.cache.record(facts)

    @property
    def reserved_nanos(self) -> int:
        holding = self.leases._holdings.get(ACCOUNT)
        return holding.reserved_nanos if holding else 0

    @property
    def spent_nanos(self) -> int:
        holding = self.leases._holdings.get(ACCOUNT)
        return holding.spent_nanos if holding else 0


@pytest.fixture
async def house() -> CacheHouse:
    house = CacheHouse()
    await give_credit(house.settle._store, CREDIT)
    return house


async def test_a_free_hit_is_one_event_and_asks_for_no_credit() -> None:
    house = CacheHouse()

    event, position = await house.hit(FREE)

    assert house.requests.events == [event]
    assert (position, len(house.leases), house.log.appends) == (1, 0, 0)
    assert (event.cost_nanos, event.saved_nanos, event.lease_id) == (0, COST, NO_LEASE)
    assert (event.attempts, event.evidence, event.tokens.total) == (0, "none", 0)


async def test_a_hit_says_who_asked_and_who_made_the_answer() -> None:
    event, _ = await CacheHouse().hit(FREE)

    assert (event.request_id, event.account_id, event.key_id, event.user_id) == ("r", ACCOUNT, "k", "u")
    assert (event.model, event.provider, event.upstream_model) == ("gpt", "openai", "gpt-2026")
    assert (event.endpoint, event.stream, event.route, event.at) == ("chat.completions", False, "fast", AT)
    assert (event.price_id, event.similarity, event.finish_reason) == (CACHE_HIT, None, "stop")


async def test_the_answer_to_a_similar_question_has_a_mark_of_its_own() -> None:
    event, _ = await CacheHouse().hit(FREE, msgspec.structs.replace(KEPT, similarity=0.97, is_stream=True))

    assert (event.price_id, event.similarity, event.stream) == (SEMANTIC_CACHE_HIT, 0.97, True)


async def test_an_answer_that_an_earlier_release_kept_is_free_and_named_as_its_provider_did() -> None:
    event, _ = await CacheHouse().hit(TENTH, an_answer())

    assert (event.model, event.cost_nanos, event.saved_nanos) == ("gpt", 0, 0)


async def test_a_hit_with_a_price_is_charged_once_and_its_lease_is_spent(house: CacheHouse) -> None:
    event, _ = await house.hit()
    await house.settled()

    assert (event.cost_nanos, event.saved_nanos, event.evidence) == (100, 900, "none")
    assert event.lease_id != NO_LEASE
    assert (await house.charges(), house.reserved_nanos, house.spent_nanos) == ([100], 0, 100)


async def test_a_hit_with_a_price_needs_credit_and_is_not_recorded_without() -> None:
    house = CacheHouse()

    with pytest.raises(CreditExhausted):
        await house.hit()

    assert house.requests.events == []


@pytest.mark.parametrize("refusal", [Busy("full"), Unavailable("late"), TypeError("no event")])
@pytest.mark.parametrize("policy", [FREE, TENTH])
async def test_a_hit_that_is_not_recorded_is_not_answered_and_spends_nothing(
    house: CacheHouse, refusal: Exception, policy: CachePolicy
) -> None:
    house.refusal = refusal

    with pytest.raises(type(refusal)):
        await house.hit(policy)

    assert (house.requests.events, house.reserved_nanos, house.spent_nanos) == ([], 0, 0)


async def test_a_hit_that_may_be_recorded_is_not_answered_and_is_spent_as_it_will_be_charged(
    house: CacheHouse,
) -> None:
    house.refusal = OutcomeUnknown("silent")

    with pytest.raises(OutcomeUnknown):
        await house.hit()
    await house.settled()

    assert (await house.charges(), house.reserved_nanos, house.spent_nanos) == ([100], 0, 100)


@pytest.mark.parametrize(("refusal", "charges"), [(None, [100]), (Unavailable("late"), [])])
async def test_what_becomes_of_a_hit_is_awaited_though_its_asker_has_gone(
    house: CacheHouse, refusal: Exception | None, charges: list[int]
) -> None:
    house.refusal = refusal
    house.held.clear()
    asking = asyncio.create_task(house.hit())
    await until(lambda: bool(house.reserved_nanos))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert house.reserved_nanos == 100

    house.held.set()
    await until(lambda: not house.cache._charging)
    await house.settled()

    assert (await house.charges(), house.reserved_nanos, house.spent_nanos) == (charges, 0, sum(charges))


@given(st.integers(0, 10**15), st.integers(0, 100))
def test_a_hit_never_costs_more_than_its_answer_and_the_rest_is_saved(cost_nanos: int, percent: int) -> None:
    answer = msgspec.structs.replace(KEPT, cost_nanos=cost_nanos)

    charged = CachePolicy(ttl_s=60, hit_percent=percent).hit_nanos(answer)

    assert 0 <= charged <= cost_nanos
    assert abs(100 * charged - cost_nanos * percent) <= 50
    assert (percent == 0 and charged == 0) or (percent == 100 and charged == cost_nanos) or 0 < percent < 100


@given(st.integers(0, 10**15), st.integers(0, 100))
def test_what_is_charged_and_what_is_saved_are_what_the_answer_cost(cost_nanos: int, percent: int) -> None:
    asyncio.run(_charged_and_saved(cost_nanos, percent))


async def _charged_and_saved(cost_nanos: int, percent: int) -> None:
    house = CacheHouse()
    await give_credit(house.settle._store, 10**15, AccountId(ACCOUNT))
    policy = CachePolicy(ttl_s=60, hit_percent=percent)

    event, _ = await house.hit(policy, msgspec.structs.replace(KEPT, cost_nanos=cost_nanos))

    assert event.cost_nanos + event.saved_nanos == cost_nanos
    assert event.saved_nanos >= 0


@pytest.mark.parametrize(("cost_nanos", "charged"), [(4, 0), (5, 1), (14, 1), (15, 2)])
def test_a_share_is_rounded_half_up_as_prices_are(cost_nanos: int, charged: int) -> None:
    assert TENTH.hit_nanos(msgspec.structs.replace(KEPT, cost_nanos=cost_nanos)) == charged
