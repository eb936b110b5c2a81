"""Where the servers are: named by the user, or started by `agg up` and noted in the data directory."""

import os

import msgspec

from adapters.endpoints import DatabaseEndpoint, RedisEndpoint, ServiceEndpoints
from api.local_state import SERVICES, LocalState
from api.settings import Settings, SettingsError

UP = "up"


class RunningServices(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `services.json` holds: the servers that `agg up` runs, and by which process ids. None: not run by it."""

    nats_url: str | None = None
    database: DatabaseEndpoint | None = None
    redis: RedisEndpoint | None = None
    pids: dict[str, int] = {}

    @property
    def alive(self) -> bool:
        """Whether the `agg up` that wrote this still runs."""
        pid = self.pids.get(UP)
        if pid is None:
            return False
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True


def read_services(settings: Settings) -> RunningServices:
    """What the last `agg up` in this data directory noted, running or not."""
    return msgspec.convert(LocalState(settings.data_dir / SERVICES).read(), RunningServices)


def write_services(settings: Settings, services: RunningServices) -> None:
    LocalState(settings.data_dir / SERVICES).write(msgspec.to_builtins(services))


def resolve_endpoints(settings: Settings) -> ServiceEndpoints:
    """For each server: the user's own, else the one that `agg up` runs. Raises SettingsError when there is neither."""
    found = find_services(settings)
    if found.nats_url and found.database and found.redis:
        return ServiceEndpoints(nats_url=found.nats_url, database=found.database, redis=found.redis)
    missing = {"AGG_NATS_URL": found.nats_url, "AGG_DATABASE_HOST": found.database, "AGG_REDIS_HOST": found.redis}
    names = " and ".join(name for name, found in missing.items() if not found)
    raise SettingsError(f"nothing runs in {settings.data_dir}: start it with `just up`, or set {names}")


def find_services(settings: Settings) -> RunningServices:
    """Those there are, of the user's own and of the ones that `agg up` runs: for who can do without some."""
    noted = read_services(settings)
    running = noted if noted.alive else RunningServices()
    return RunningServices(
        nats_url=settings.nats_url.get_secret_value() if settings.nats_url else running.nats_url,
        database=own_database(settings) or running.database,
        redis=own_redis(settings) or running.redis,
    )


def own_database(settings: Settings) -> DatabaseEndpoint | None:
    if not settings.has_own_database:
        return None
    return DatabaseEndpoint(
        host=settings.database_host or "127.0.0.1",
        port=settings.database_port,
        user=settings.database_user,
        password=settings.database_password.get_secret_value(),
        dbname=settings.database_dbname,
    )


def own_redis(settings: Settings) -> RedisEndpoint | None:
    if not settings.has_own_redis:
        return None
    return RedisEndpoint(
        host=settings.redis_host or "127.0.0.1",
        port=settings.redis_port,
        password=settings.redis_password.get_secret_value() if settings.redis_password else None,
        db=settings.redis_db,
    )
