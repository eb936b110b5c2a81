"""The servers that `agg up` brings: those that the user does not."""

from dataclasses import dataclass

from adapters.embedded.home import free_port
from adapters.embedded.nats import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.embedded.server import Server
from adapters.embedded.valkey import ValkeyServer
from api.endpoints import RunningServices, read_services
from api.settings import Settings


@dataclass(frozen=True)
class LocalServers:
    nats: NatsServer | None
    postgres: PostgresServer | None
    valkey: ValkeyServer | None

    @classmethod
    def of(cls, settings: Settings, lock: int) -> "LocalServers":
        """Not started yet; on the ports that they had the last time, never the API's. `lock` stays open in each."""
        last = read_services(settings)
        ours = settings.server_port
        where, logs, keep = settings.data_dir, settings.data_dir / "logs", (lock,)
        nats_port = int(last.nats_url.rpartition(":")[2]) if last.nats_url else None
        postgres_port = last.database.port if last.database else None
        valkey_port = last.redis.port if last.redis else None
        nats = NatsServer(where / "nats", log=logs / "nats.log", port=free_port(nats_port, avoid=ours), keep_fds=keep)
        postgres = PostgresServer(
            where / "postgres", log=logs / "postgres.log", port=free_port(postgres_port, avoid=ours), keep_fds=keep
        )
        valkey = ValkeyServer(
            where / "valkey", log=logs / "valkey.log", port=free_port(valkey_port, avoid=ours), keep_fds=keep
        )
        return cls(
            nats=None if settings.has_own_nats else nats,
            postgres=None if settings.has_own_database else postgres,
            valkey=None if settings.has_own_redis else valkey,
        )

    @property
    def started_in_order(self) -> list[Server]:
        return [server for server in (self.nats, self.postgres, self.valkey) if server]

    def running(self, pids: dict[str, int]) -> RunningServices:
        """What other commands need to find them, once they have started."""
        return RunningServices(
            nats_url=self.nats.endpoint if self.nats else None,
            database=self.postgres.endpoint if self.postgres else None,
            redis=self.valkey.endpoint if self.valkey else None,
            pids=pids,
        )
