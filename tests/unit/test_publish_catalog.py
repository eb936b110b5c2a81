"""The catalogue is published once: what the log says already is read and not written."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from adapters.catalog.file import CatalogEntry, read_whole_catalog
from adapters.in_memory import InMemoryEventLog
from commands.publish_catalog import AT_ONCE, PublishCatalog, PublishCatalogHandler
from commands.store import Cause, EventStore
from domain.aggregate import Address
from domain.catalog import MODEL, Model, model_address
from domain.errors import InvalidInput
from domain.ids import CommandId
from domain.ports import Append, Recorded
from projections import catalogue
from projections.projection import Event

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LATER = datetime(2026, 11, 24, tzinfo=UTC)
OWN = """
[[models]]
model = "gpt-4o"
provider = "openai"
upstream_model = "gpt-4o"
owned_by = "openai"
context_length = 128000
max_output_tokens = 16384
valid_from = "2026-01-01"
usd_per_million = { input = "1", output = "2" }
"""


class CountingLog(InMemoryEventLog):
    """Each call gives way once, so that calls of others come between."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = self.writes = self.running = self.most = 0

    async def last(self, address: Address) -> Recorded | None:
        self.reads += 1
        await self._pause()
        return await super().last(address)

    async def append(self, appends: Sequence[Append]) -> list[int]:
        self.writes += 1
        await self._pause()
        return await super().append(appends)

    async def _pause(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1


async def publish(log: CountingLog, entries: list[CatalogEntry], name: str) -> int:
    """By a process that starts."""
    log.reads = log.writes = log.most = 0
    command = PublishCatalog(Cause(CommandId(name), NOW, "test"), entries)
    return await PublishCatalogHandler(EventStore(log, "/test")).handle(command)


async def known(log: CountingLog, name: str) -> Model:
    return (await EventStore(log, "/test").load(MODEL, model_address(name))).state


async def test_the_second_start_reads_each_model_once_and_writes_nothing() -> None:
    log = CountingLog()
    entries = read_whole_catalog(None, NOW)

    assert await publish(log, entries, "first") == len(entries)
    assert (log.reads, log.writes) == (len(entries), len(entries))
    assert await publish(log, read_whole_catalog(None, LATER), "second") == 0
    assert (log.reads, log.writes) == (len(entries), 0)


async def test_many_models_are_written_at_once_but_not_all() -> None:
    log = CountingLog()

    await publish(log, read_whole_catalog(None, NOW), "first")

    assert 1 < log.most <= AT_ONCE


async def test_what_is_published_is_known_with_its_prices_and_abilities() -> None:
    log = CountingLog()
    await publish(log, read_whole_catalog(None, NOW), "first")

    o3 = await known(log, "o3")

    assert (o3.kind, o3.upstream_model, len(o3.prices)) == ("chat", "o3", 3)
    assert "reasoning" in o3.capabilities
    assert o3.prices[-1].batch is not None


async def test_the_users_own_price_holds_in_place_of_all_that_ship_and_is_not_told_again(tmp_path: Path) -> None:
    path, log = tmp_path / "own.toml", CountingLog()
    path.write_text(OWN)
    await publish(log, read_whole_catalog(None, NOW), "shipped")

    assert await publish(log, read_whole_catalog(path, LATER), "own") == 1

    held = (await known(log, "gpt-4o")).price_at(datetime(2030, 1, 1, tzinfo=UTC))
    assert held is not None and held.rates.input == 10**9
    assert await publish(log, read_whole_catalog(path, LATER), "again") == 0


async def test_prices_of_a_file_that_is_taken_away_give_way_to_those_that_ship(tmp_path: Path) -> None:
    path, log = tmp_path / "own.toml", CountingLog()
    path.write_text(OWN)
    await publish(log, read_whole_catalog(path, NOW), "own")

    assert await publish(log, read_whole_catalog(None, LATER), "shipped") == 1

    model = await known(log, "gpt-4o")
    held = model.price_at(NOW)
    assert held is not None and held.rates.input == 2_500_000_000
    assert len({price.price_id for price in model.prices}) == len(model.prices)


def test_the_read_model_holds_each_column_that_it_names() -> None:
    (listed, (*_, newest)) = next(entry for entry in read_whole_catalog(None, NOW) if entry[0].model == "gpt-6.1-sol")
    rows = catalogue.fold([cast(Event, SimpleNamespace(fact=fact)) for fact in (listed, newest)])

    model = dict(zip(catalogue._MODEL, rows.models["gpt-6.1-sol"], strict=True))
    price = dict(zip(catalogue._PRICE, rows.prices[0], strict=True))

    assert (model["kind"], model["capabilities"]) == ("chat", list(listed.capabilities))
    assert (price["rates"], price["batch"], price["model"]) == (newest.rates, newest.batch, "gpt-6.1-sol")
    assert newest.batch is not None and newest.rates.above


async def test_one_model_that_is_refused_keeps_no_other_out() -> None:
    log = CountingLog()
    (listed, prices), *others = read_whole_catalog(None, NOW)
    sizeless = msgspec.structs.replace(listed, context_length=0)

    with pytest.raises(InvalidInput, match="context length"):
        await publish(log, [(sizeless, prices), *others], "first")

    assert log.writes == len(others)
