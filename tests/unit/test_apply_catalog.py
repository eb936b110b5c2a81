"""The declared catalogue is replaced as a whole or not at all, by whoever declared it, on every worker."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.live_directory import LiveDirectory
from commands.apply_catalog import ADMIN, FILE, MOST_CHANGES
from commands.catalog_changes import CatalogChange
from domain.catalog_sources import CatalogApplied
from domain.declared_limits import LimitsSet
from domain.declared_route import CatalogRoute, RouteSet
from domain.deployment import Deployment
from domain.errors import InvalidInput
from domain.ports import Append
from tests.accounts import FollowedLog
from tests.declaring import MODELS, Operator, deployment, limits, listing, names_in, route

Item = Deployment | CatalogRoute | LimitsSet
NOTHING: dict[str, set[str]] = {"deployments": set(), "routes": set(), "limits": set()}


def said(changes: Sequence[CatalogChange]) -> list[str]:
    return [f"{change.action} {change.kind} {change.name}" for change in changes if change.kind != "model"]


async def test_what_is_declared_is_there_and_what_changed_is_said() -> None:
    operator = Operator(FollowedLog())

    first = await operator.apply(deployment("eu"), deployment("us"), route("fast", "eu"), limits())
    again = await operator.apply(deployment("eu"), deployment("us"), route("fast", "eu"), limits())
    second = await operator.apply(deployment("eu", weight=2), route("fast", "eu"), route("slow", "eu"))

    assert said(first.changes) == [
        *("added deployment eu", "added deployment us", "added route fast", "added limits key:*")
    ]
    assert (again.changes, again.position) == ((), first.position)
    assert said(second.changes) == [
        *("changed deployment eu", "removed deployment us", "added route slow", "removed limits key:*")
    ]
    declared = await operator.handler.declared()
    assert declared.names == {"deployments": ("eu",), "routes": ("fast", "slow"), "limits": ()}
    assert declared.deployments[0].weight == 2


async def test_all_of_it_is_one_append() -> None:
    class Counting(FollowedLog):
        def __init__(self) -> None:
            super().__init__()
            self.appends: list[int] = []

        async def append(self, appends: Sequence[Append]) -> list[int]:
            self.appends.append(len(appends))
            return await super().append(appends)

    log = Counting()
    operator = Operator(log)
    await operator.apply()
    log.appends.clear()

    await operator.apply(deployment("eu"), deployment("us"), route("fast", "eu"), limits())

    assert log.appends == [5]
    assert isinstance(log.facts[-1], CatalogApplied)


async def test_a_mistake_anywhere_writes_nothing_not_even_a_model() -> None:
    log = FollowedLog()
    operator = Operator(log)

    with pytest.raises(InvalidInput, match="routes\\[0\\]"):
        await operator.apply(deployment("eu"), route("fast", "asia"))
    with pytest.raises(InvalidInput, match="context length"):
        await operator.apply(deployment("eu"), entries=(*MODELS, listing("m", context_length=0)))

    assert log.facts == []


async def test_what_a_model_is_comes_from_the_log_as_well() -> None:
    log = FollowedLog()
    await Operator(log, "first").apply()

    await Operator(log, "second").apply(deployment("eu"), route("fast", "eu", fallback_models=("o3",)), entries=())
    with pytest.raises(InvalidInput, match="'gpt-9' is not in the catalogue"):
        await Operator(log, "third").apply(deployment("eu", model="gpt-9"), entries=())


async def test_a_source_takes_out_only_what_it_declared_itself() -> None:
    operator = Operator(FollowedLog())
    await operator.apply(deployment("file-d"), deployment("both"))
    await operator.apply(deployment("admin-d"), deployment("both", weight=3), source=ADMIN)

    await operator.apply(deployment("file-d"))
    assert (await operator.names())["deployments"] == {"file-d", "admin-d", "both"}
    await operator.apply(source=ADMIN)
    assert (await operator.names())["deployments"] == {"file-d"}


async def test_replacing_the_whole_leaves_nothing_of_others() -> None:
    operator = Operator(FollowedLog())
    await operator.apply(deployment("eu"), route("fast", "eu"), limits())

    await operator.apply(deployment("us"), source=ADMIN, whole=True)

    assert await operator.names() == {**NOTHING, "deployments": {"us"}}


async def test_a_file_that_has_not_changed_does_not_undo_what_was_edited_since() -> None:
    log = FollowedLog()
    operator = Operator(log)
    file = (deployment("eu"), route("fast", "eu"))
    await operator.apply(*file, if_changed=True)
    await operator.apply(deployment("us"), source=ADMIN, whole=True)
    written = len(log.facts)

    assert (await operator.apply(*file, if_changed=True)).changes == ()
    assert len(log.facts) == written

    await operator.apply(*file, limits(), if_changed=True)
    assert await operator.names() == {"deployments": {"eu", "us"}, "routes": {"fast"}, "limits": {"key:*"}}


async def test_a_preview_says_the_same_and_writes_nothing() -> None:
    log = FollowedLog()
    operator = Operator(log)

    previewed = await operator.handler.preview(operator.command(deployment("eu"), entries=MODELS))

    assert log.facts == []
    assert previewed == (await operator.apply(deployment("eu"))).changes
    assert [change.name for change in previewed if change.kind == "model"] == ["gpt-4o", "o3", "embed"]


async def test_of_two_at_once_the_second_decides_on_what_the_first_made() -> None:
    """Each is sound alone; together a route would use a deployment that is gone."""

    class Slow(FollowedLog):
        async def append(self, appends: Sequence[Append]) -> list[int]:
            await asyncio.sleep(0)
            return await super().append(appends)

    log = Slow()
    one, other = Operator(log, "one"), Operator(log, "other")
    await one.apply(deployment("eu"))

    outcomes = await asyncio.gather(one.apply(), other.apply(route("fast", "eu"), source=ADMIN), return_exceptions=True)

    assert sum(isinstance(outcome, InvalidInput) for outcome in outcomes) == 1
    names = await one.names()
    assert names["deployments"] if names["routes"] else not names["deployments"]


async def test_more_than_one_append_can_take_is_refused() -> None:
    operator = Operator(FollowedLog())

    with pytest.raises(InvalidInput, match="too many at once"):
        await operator.apply(*(limits("key", f"k{number}") for number in range(MOST_CHANGES + 1)))
    await operator.apply(*(limits("key", f"k{number}") for number in range(MOST_CHANGES)))


NAMES = ("a", "b", "c")
OF_ONE = st.tuples(
    st.sampled_from([FILE, ADMIN]), st.booleans(), st.lists(st.sampled_from(NAMES), unique=True), st.integers(1, 3)
)


def everything_of(names: Sequence[str], weight: int) -> list[Item]:
    """Deployments and, each falling back to the next, routes over them; limits of each route."""
    deployments = [deployment(f"d{name}", weight=weight) for name in names]
    routes = [
        route(f"r{name}", f"d{name}", fallback_models=tuple(f"r{other}" for other in names[number + 1 :]))
        for number, name in enumerate(names)
    ]
    return [*deployments, *routes, *(limits("model", f"r{name}", concurrent=weight) for name in names)]


class Follower:
    """A worker that hears one fact after another: at no instant does a name that it knows lead nowhere."""

    def __init__(self) -> None:
        self.directory = LiveDirectory()

    def hear(self, subject: str, raw: bytes) -> None:
        self.directory.apply(subject, raw)
        for each in self.directory.routes().values():
            assert set(each.route.deployments) <= self.directory.deployments().keys()
            assert set(each.route.fallback_models) <= self.directory.routes().keys()


@given(st.lists(OF_ONE, max_size=6))
async def test_whatever_is_declared_by_whom_holds_on_every_worker(
    history: list[tuple[str, bool, list[str], int]],
) -> None:
    log, follower, owners = FollowedLog(), Follower(), dict[str, tuple[str, int]]()
    log.followers.append(follower.hear)
    operator = Operator(log)
    for source, whole, names, weight in history:
        expected = {} if whole else {name: owner for name, owner in owners.items() if owner[0] != source}
        expected |= dict.fromkeys(names, (source, weight))
        try:
            await operator.apply(*everything_of(names, weight), source=source, whole=whole)
        except InvalidInput:  # somebody else's route falls back to what would be gone
            continue
        owners = expected

    names = {
        "deployments": {f"d{name}" for name in owners},
        "routes": {f"r{name}" for name in owners},
        "limits": {f"model:r{name}" for name in owners},
    }
    assert await operator.names() == names_in(follower.directory) == names
    assert {each.name[1:]: each.weight for each in follower.directory.deployments().values()} == {
        name: weight for name, (_, weight) in owners.items()
    }
    late = LiveDirectory()
    for subject, events in log._subjects.items():
        if events:
            late.apply(subject, events[-1].raw)
    assert names_in(late) == names


async def test_fallbacks_are_told_before_what_falls_back_to_them() -> None:
    log = FollowedLog()

    await Operator(log).apply(*everything_of(NAMES, 1))

    assert [fact.route.name for fact in log.facts if isinstance(fact, RouteSet)] == ["rc", "rb", "ra"]
