"""Where the three servers are, and what opens them."""

import msgspec


class DatabaseEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    host: str
    port: int
    user: str
    password: str
    dbname: str

    def __repr__(self) -> str:
        return f"DatabaseEndpoint({self.user}@{self.host}:{self.port}/{self.dbname})"


class RedisEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    host: str
    port: int
    password: str | None
    db: int = 0

    def __repr__(self) -> str:
        return f"RedisEndpoint({self.host}:{self.port}/{self.db})"


class ServiceEndpoints(msgspec.Struct, frozen=True, kw_only=True):
    """`nats_url` carries its credentials and may list several servers, separated by commas."""

    nats_url: str
    database: DatabaseEndpoint
    redis: RedisEndpoint

    def __repr__(self) -> str:
        servers = ",".join(url.rpartition("@")[2] for url in self.nats_servers)
        return f"ServiceEndpoints(nats {servers}, {self.database!r}, {self.redis!r})"

    @property
    def nats_servers(self) -> list[str]:
        """What `nats.connect` takes."""
        return [url.strip() for url in self.nats_url.split(",") if url.strip()]
