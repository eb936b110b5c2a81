"""Who may answer by a name is remembered, and is at no time anybody else than who would be found anew."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any, cast, get_args

import pytest
from redis.asyncio import Redis

from adapters.live_directory import LiveDirectory
from api.connections import Connections
from api.model_names import ModelNames
from api.providers import VENDORS, Account
from api.routing import compose_routing
from api.settings import load_settings
from commands.publish_catalog import CatalogEntry
from commands.route_limits import RouteLimits
from commands.route_plan import Resolved
from commands.route_requests import RouteBook
from domain.catalog import ModelPriced, name_price
from domain.errors import InvalidInput, ModelNotFound
from domain.ids import AccountId
from domain.limits import Rule
from domain.pricing import Rates
from domain.upstream import Endpoint
from tests.accounts import FollowedLog
from tests.declaring import NOW, Operator, deployment, listing, route

SOON, LATER = NOW + timedelta(days=1), NOW + timedelta(days=2)
TIMES = (NOW, SOON - timedelta(microseconds=1), SOON, LATER, NOW)
NAMES = ("fast", "slow", "gpt-4o", "openai/gpt-4o", "o3", "openai/made-up", "embed", "nobody")
CHAT: Endpoint = "chat.completions"


def priced(model: str, *from_when: datetime, **changes: Any) -> CatalogEntry:
    """Each time at another price."""
    listed, _ = listing(model, **changes)
    prices: list[ModelPriced] = []
    for number, at in enumerate(from_when, 1):
        rates = Rates(input=number, output=number)
        ident = name_price(model, at, NOW, rates, None)
        prices.append(ModelPriced(model=model, at=NOW, price_id=ident, valid_from=at, rates=rates))
    return listed, tuple(prices)


class Provider:
    def can(self, capability: str) -> bool:
        return True


def no_rules(account_id: AccountId, name: str) -> Sequence[Rule]:
    return ()


class Worker:
    """One that follows the log of an operator. It has an account at `openai`, and another key for it."""

    def __init__(self, stack: AsyncExitStack, *, unlisted: bool = True) -> None:
        self.log = FollowedLog()
        self.directory = LiveDirectory()
        self.log.followers.append(self.directory.apply)
        self.operator = Operator(self.log)
        self.providers: Mapping[str, Any] = {"openai": Provider()}
        account = Account("openai", VENDORS["openai"], "http://127.0.0.1:1/v1", "usual")
        settings = load_settings({"OTHER_KEY": "other"})
        self.connections = Connections(self.providers, {"openai": account}, settings, stack)
        self.models = ModelNames(self.directory, self.providers, unlisted=unlisted)
        self.book = self.new_book()

    def new_book(self) -> RouteBook:
        limits = RouteLimits(cast(Any, None), self.directory.deployments, no_rules, 0, lambda: 0.0)
        return compose_routing(Redis(), self.directory, self.models, self.connections, limits).book

    def found(self) -> list[Resolved | str]:
        """What is remembered, which is what a book finds that remembers nothing."""
        questions = [(name, endpoint, at) for at in TIMES for name in NAMES for endpoint in get_args(Endpoint)]
        remembered, forgetful = [], self.new_book()
        for each in questions:
            forgetful._resolved.clear()
            remembered.append(found(self.book, *each))
            assert remembered[-1] == found(forgetful, *each), each
        return remembered

    def resolve(self, name: str, at: datetime = NOW) -> Resolved:
        return self.book.resolve(name, CHAT, at)


def found(book: RouteBook, name: str, endpoint: Endpoint, at: datetime) -> Resolved | str:
    try:
        return book.resolve(name, endpoint, at)
    except InvalidInput as refused:
        return f"{type(refused).__name__}: {refused}"


@pytest.mark.parametrize("unlisted", [True, False])
async def test_what_is_remembered_is_what_would_be_found_anew_after_every_change(*, unlisted: bool) -> None:
    own = deployment("own", key_ref="OTHER_KEY")
    unpriced, now, soon = (
        [priced(name, *times) for name in ("gpt-4o", "o3")] + [priced("embed", NOW, kind="embedding")]
        for times in ((), (NOW,), (NOW, SOON, LATER))
    )
    changes = [
        (unpriced, (deployment("eu"),)),
        (now, (deployment("eu"), route("fast", "eu"))),
        (soon, (deployment("eu"), route("fast", "eu"))),
        (soon, (deployment("eu", model="o3"), route("fast", "eu"))),
        (soon, (deployment("eu"), own, route("fast", "eu", "own"), route("slow", "own"))),
        (soon, (deployment("eu", weight=0), own, route("fast", "own", "eu"), route("slow", "eu", "own"))),
        (soon, (deployment("eu", weight=0), own, route("fast", "own"), route("slow", "own"))),
        (soon, (own, route("gpt-4o", "own"))),
        ([*soon, priced("nobody", NOW)], ()),
        ([priced("gpt-4o", SOON), *soon[1:]], (deployment("eu"), route("fast", "eu"))),
    ]
    async with AsyncExitStack() as stack:
        worker = Worker(stack, unlisted=unlisted)
        before: list[Resolved | str] = []
        for entries, items in changes:
            await worker.operator.apply(*items, entries=entries)
            assert worker.found() != before
            await worker.connections.keep(worker.directory.deployments().values())
            before = worker.found()
            await worker.connections.keep(())
            worker.found()
            await worker.connections.keep(worker.directory.deployments().values())
            assert worker.found() == before


async def test_nothing_is_looked_up_again_while_nothing_changes() -> None:
    async with AsyncExitStack() as stack:
        worker = Worker(stack)
        entries = [priced("gpt-4o", NOW, SOON)]
        await worker.operator.apply(deployment("eu"), route("fast", "eu"), entries=entries)

        for name in ("fast", "gpt-4o"):
            assert worker.resolve(name) is worker.resolve(name, SOON - timedelta(microseconds=1))
            assert worker.resolve(name) is not worker.resolve(name, SOON)
        assert worker.resolve("gpt-4o", SOON) is worker.resolve("gpt-4o", LATER)


async def test_a_deployment_without_a_price_is_a_candidate_from_the_moment_that_it_has_one() -> None:
    async with AsyncExitStack() as stack:
        worker = Worker(stack, unlisted=False)
        await worker.operator.apply(deployment("eu"), route("fast", "eu"), entries=[priced("gpt-4o", SOON)])

        assert [len(worker.resolve("fast", at).candidates) for at in (NOW, SOON, NOW)] == [0, 1, 0]


async def test_names_that_clients_make_up_take_no_memory() -> None:
    async with AsyncExitStack() as stack:
        worker = Worker(stack)
        await worker.operator.apply(entries=[priced("gpt-4o", NOW)])
        for number in range(50):
            assert worker.resolve(f"openai/{number}").is_plain
            with pytest.raises(ModelNotFound):
                worker.resolve(f"{number}")
        worker.resolve("gpt-4o")
        worker.resolve("openai/gpt-4o")

        assert set(worker.book._resolved) == {("gpt-4o", CHAT), ("openai/gpt-4o", CHAT)}


async def test_however_it_is_spelt_a_model_goes_by_the_catalogues_name() -> None:
    async with AsyncExitStack() as stack:
        worker = Worker(stack)
        await worker.operator.apply(deployment("eu"), route("fast", "eu"), entries=[priced("gpt-4o", NOW)])

        assert [worker.resolve(name).name for name in ("openai/gpt-4o", "fast")] == ["gpt-4o", "fast"]
