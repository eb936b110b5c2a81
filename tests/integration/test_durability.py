"""Strict durability is what the server reports, not what we hope."""

import asyncio
from pathlib import Path

from adapters.durability import verify_durability
from adapters.embedded.child import Child, Command
from adapters.embedded.home import free_port
from adapters.embedded.nats import nats_binary
from adapters.endpoints import ServiceEndpoints

SHOWN = """
system_account: SYS
accounts {
  SYS { exports: [{ service: "$SYS.REQ.SERVER.PING.JSZ", response_type: stream, accounts: [AGG] }] }
  AGG {
    jetstream: enabled
    users: [{ user: "u", password: "p" }]
    imports: [{ service: { account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ" } }]
  }
}
"""
HIDDEN = 'authorization { user: "u", password: "p" }'


async def verdict_on(tmp_path: Path, *, sync: str, accounts: str = SHOWN) -> str | None:
    """Of a server with this configuration."""
    port = free_port()
    config = tmp_path / "nats.conf"
    config.write_text(
        f"host: 127.0.0.1\nport: {port}\nserver_name: n1\n"
        f'jetstream {{ store_dir: "{tmp_path}/store", sync_interval: {sync} }}\n{accounts}'
    )
    child = await Child.spawn(Command(argv=(nats_binary(), "-c", config), log=tmp_path / "log"))
    try:
        for _ in range(500):
            if "Server is ready" in (tmp_path / "log").read_text():
                break
            await asyncio.sleep(0.02)
        return await verify_durability(f"nats://u:p@127.0.0.1:{port}")
    finally:
        await child.stop(5)


async def test_the_embedded_server_syncs_every_write(servers: ServiceEndpoints) -> None:
    assert await verify_durability(servers.nats_url) is None


async def test_a_server_that_syncs_always_passes(tmp_path: Path) -> None:
    assert await verdict_on(tmp_path, sync="always") is None


async def test_a_server_that_syncs_later_is_named(tmp_path: Path) -> None:
    verdict = await verdict_on(tmp_path, sync="2m")

    assert verdict is not None
    assert verdict.startswith("NATS server n1 acknowledges writes that are not on disk")


async def test_a_server_that_does_not_say_does_not_pass(tmp_path: Path) -> None:
    verdict = await verdict_on(tmp_path, sync="always", accounts=HIDDEN)

    assert verdict is not None
    assert "does not show whether it syncs" in verdict


async def test_no_server_does_not_pass() -> None:
    verdict = await verify_durability(f"nats://127.0.0.1:{free_port()}")

    assert verdict is not None
    assert "cannot be reached" in verdict
