"""The servers that `agg up` brings keep out of each other's way, and out of the API's."""

from pathlib import Path

from adapters.embedded.home import PORTS, free_port
from api.endpoints import RunningServices, write_services
from api.local_servers import LocalServers
from api.settings import load_settings


def test_no_server_takes_the_port_of_the_api() -> None:
    port = free_port()

    assert free_port(port) == port
    assert free_port(port, avoid=port) != port


def test_a_server_leaves_its_old_port_to_an_api_that_moved_there(tmp_path: Path) -> None:
    port = free_port()
    settings = load_settings({"AGG_DATA_DIR": str(tmp_path), "AGG_SERVER_PORT": str(port)})
    write_services(settings, RunningServices(nats_url=f"nats://agg:secret@127.0.0.1:{port}"))

    servers = LocalServers.of(settings, lock=0)

    assert servers.nats is not None
    assert servers.nats.port in PORTS
    assert servers.nats.port != port
