"""nats-server processes for tests: one alone, or three as a cluster, on loopback, syncing every write."""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from adapters.embedded.child import Command
from adapters.embedded.home import LOOPBACK, free_port
from adapters.embedded.nats import nats_binary

READY_S = 30.0

CONFIG = """\
host: "{host}"
port: {port}
http: "{host}:{monitor}"
server_name: {name}
jetstream {{ store_dir: "{store}", sync_interval: always }}
{cluster}
"""


class NatsNode:
    """A server that can be killed and started again on the same port and data."""

    def __init__(self, home: Path, name: str = "n1", cluster: str = "") -> None:
        self.home = home
        self.port = free_port()
        self.monitor = free_port()
        self.url = f"nats://{LOOPBACK}:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)
        self._config = home / "nats.conf"
        self._config.write_text(
            CONFIG.format(
                host=LOOPBACK,
                port=self.port,
                monitor=self.monitor,
                name=name,
                store=home / "data",
                cluster=cluster,
            )
        )

    def start(self) -> None:
        """Returns at once; `await_ready` waits."""
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                Command(argv=(nats_binary(), "-c", self._config)).bound_argv(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def await_ready(self) -> None:
        """JetStream serves; in a cluster: it has a leader for its own state and this server is current."""
        give_up = time.monotonic() + READY_S
        while not self._healthy():
            assert time.monotonic() < give_up, (self.home / "server.log").read_text()[-2_000:]
            time.sleep(0.02)

    def send_signal(self, number: signal.Signals) -> None:
        """To the server and the process that bound it to us."""
        assert self._process
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _healthy(self) -> bool:
        with suppress(urllib.error.URLError, OSError):
            url = f"http://{LOOPBACK}:{self.monitor}/healthz"
            with urllib.request.urlopen(url, timeout=1) as answer:
                return answer.status == 200
        return False


@contextmanager
def single_node(home: Path) -> Generator[NatsNode]:
    node = NatsNode(home)
    node.start()
    try:
        node.await_ready()
        yield node
    finally:
        node.kill()


@contextmanager
def three_nodes(home: Path) -> Generator[Sequence[NatsNode]]:
    """A cluster; streams with three replicas have one on each."""
    routes = [free_port() for _ in range(3)]
    nodes = [NatsNode(home / f"n{i}", f"n{i}", _cluster(routes, i)) for i in range(3)]
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            node.await_ready()
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def _cluster(routes: Sequence[int], index: int) -> str:
    peers = ", ".join(f'"nats://{LOOPBACK}:{port}"' for port in routes)
    return f'cluster {{ name: test, host: "{LOOPBACK}", port: {routes[index]}, no_advertise: true, routes: [{peers}] }}'
