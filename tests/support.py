"""What tests share: real servers out of the wheels, and places that every account may enter."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from adapters.embedded.nats import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.embedded.valkey import ValkeyServer
from adapters.endpoints import ServiceEndpoints


@contextmanager
def open_directory() -> Generator[Path, None, None]:
    """A temporary directory that others may enter: as root, PostgreSQL is somebody else (pytest's own are closed)."""
    path = Path(tempfile.mkdtemp(prefix="agg-test-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def running_servers(directory: Path) -> AsyncGenerator[ServiceEndpoints]:
    """NATS, PostgreSQL and Valkey under `directory`, empty at first."""
    nats = NatsServer(directory / "nats")
    postgres = PostgresServer(directory / "postgres")
    valkey = ValkeyServer(directory / "valkey")
    servers = (nats, postgres, valkey)
    try:
        await asyncio.gather(*(server.start() for server in servers))
        yield ServiceEndpoints(nats_url=nats.endpoint, database=postgres.endpoint, redis=valkey.endpoint)
    finally:
        await asyncio.gather(*(server.stop() for server in servers))
