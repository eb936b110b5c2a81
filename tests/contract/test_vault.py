"""What every vault promises: sealed for one owner and one field, and gone when the owner is forgotten."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from adapters import vault as vault_module
from adapters.nats_connection import connect_nats
from adapters.vault import STREAM, EnvelopeVault, InMemoryWrappedKeys, JetStreamWrappedKeys, WrappedKeys
from api.request_id import new_id
from domain.errors import Unavailable
from migrations.streams import apply_streams

MASTER_KEY = bytes(range(32))


@pytest.fixture(params=["in memory", "JetStream"])
async def keys(request: pytest.FixtureRequest) -> AsyncIterator[WrappedKeys]:
    if request.param == "in memory":
        yield InMemoryWrappedKeys()
        return
    client = await connect_nats(request.getfixturevalue("nats_node").url, "test")
    await apply_streams(client)
    yield JetStreamWrappedKeys(client.jetstream())
    await client.close()


@pytest.fixture
def owner() -> str:
    return new_id()


@pytest.fixture
def vault(keys: WrappedKeys) -> EnvelopeVault:
    return EnvelopeVault(keys, MASTER_KEY)


async def test_what_is_sealed_opens_and_shows_nothing(vault: EnvelopeVault, owner: str) -> None:
    sealed = await vault.seal(owner, "name", "Ada Lovelace ✓")

    assert sealed.startswith("v1.") and "Ada" not in sealed
    assert await vault.open(owner, "name", sealed) == "Ada Lovelace ✓"
    assert sealed != await vault.seal(owner, "name", "Ada Lovelace ✓")


async def test_another_process_opens_it_too(keys: WrappedKeys, vault: EnvelopeVault, owner: str) -> None:
    sealed = await vault.seal(owner, "name", "Ada")

    assert await EnvelopeVault(keys, MASTER_KEY).open(owner, "name", sealed) == "Ada"


async def test_it_opens_for_its_owner_and_field_only(vault: EnvelopeVault, owner: str) -> None:
    sealed = await vault.seal(owner, "name", "Ada")
    other = new_id()
    await vault.seal(other, "name", "Eve")

    for attempt in ((other, "name", sealed), (owner, "email", sealed), (owner, "name", sealed[:-4] + "AAAA")):
        with pytest.raises(Unavailable):
            await vault.open(*attempt)


async def test_of_two_first_seals_at_once_one_key_counts(keys: WrappedKeys, owner: str) -> None:
    vaults = [EnvelopeVault(keys, MASTER_KEY) for _ in range(8)]

    sealed = await asyncio.gather(*(vault.seal(owner, "name", "Ada") for vault in vaults))

    fresh = EnvelopeVault(keys, MASTER_KEY)
    assert {await fresh.open(owner, "name", one) for one in sealed} == {"Ada"}


async def test_a_forgotten_owner_opens_no_more(keys: WrappedKeys, vault: EnvelopeVault, owner: str) -> None:
    sealed = await vault.seal(owner, "name", "Ada")

    await vault.forget(owner)

    assert await vault.open(owner, "name", sealed) is None
    assert await EnvelopeVault(keys, MASTER_KEY).open(owner, "name", sealed) is None
    await vault.forget(owner)


async def test_other_processes_forget_within_a_minute(
    keys: WrappedKeys, vault: EnvelopeVault, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_module, "CACHED_S", 0.01)
    other = EnvelopeVault(keys, MASTER_KEY)
    sealed = await other.seal(owner, "name", "Ada")

    await vault.forget(owner)
    await asyncio.sleep(0.02)

    assert await other.open(owner, "name", sealed) is None


async def test_an_owner_without_a_key_opens_nothing(vault: EnvelopeVault, owner: str) -> None:
    assert await vault.open(owner, "name", "v1.AAAA") is None


async def test_another_master_key_opens_nothing(keys: WrappedKeys, vault: EnvelopeVault, owner: str) -> None:
    sealed = await vault.seal(owner, "name", "Ada")

    with pytest.raises(Unavailable):
        await EnvelopeVault(keys, bytes(32)).open(owner, "name", sealed)


async def test_a_key_wrapped_for_one_is_no_key_for_another(keys: WrappedKeys, vault: EnvelopeVault, owner: str) -> None:
    sealed = await vault.seal(owner, "name", "Ada")
    stolen = await keys.read(owner)
    assert stolen is not None
    other = new_id()
    await keys.create(other, stolen)

    with pytest.raises(Unavailable):
        await vault.open(other, "name", sealed)


async def test_a_forgotten_key_is_not_in_the_stream(connection: Client, owner: str) -> None:
    keys = JetStreamWrappedKeys(connection.jetstream())
    vault = EnvelopeVault(keys, MASTER_KEY)
    await vault.seal(owner, "name", "Ada")
    held = (await connection.jetstream().stream_info(STREAM)).state.messages

    await vault.forget(owner)

    assert (await connection.jetstream().stream_info(STREAM)).state.messages == held - 1
    assert await keys.read(owner) is None


async def test_a_missing_stream_is_an_outage_not_a_forgotten_owner(
    connection: Client, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_module, "STREAM", "NOWHERE")
    keys = JetStreamWrappedKeys(connection.jetstream())

    with pytest.raises(Unavailable):
        await keys.read(owner)
