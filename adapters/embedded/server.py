"""What the three servers have in common: prepared, started, probed until ready, stopped."""

import asyncio
import time
from pathlib import Path

from adapters.embedded.child import Child, Command
from adapters.embedded.home import free_port

PROBE_INTERVAL_S = 0.02
READY_DEADLINE_S = 120.0  # a large store is checked before the server answers
ROTATE_LOG_BYTES = 10_000_000
FATAL_MARKS = ("FATAL", "PANIC", "[FTL]", "# Failed", "initdb: error")


class ServerFailed(Exception):
    """A server did not start. One line that says which, why, and where its log is."""


class Server:
    """One server under `home`, on a loopback port that it keeps for its life.

    `port` is where it was last time: taken again when free. `keep_fds` stay open in the server, so that a lock
    held through them is held until the server is gone, even when its parent was killed.
    """

    name: str
    stop_deadline_s = 10.0

    def __init__(
        self, home: Path, *, log: Path | None = None, port: int | None = None, keep_fds: tuple[int, ...] = ()
    ) -> None:
        self.home = home.resolve()
        self.log = (log or home / "server.log").resolve()
        self.keep_fds = keep_fds
        self.port = port
        self._placed = False
        self._log_begins = 0
        self._child: Child | None = None

    async def prepare(self) -> Command:
        """Make the files that the server needs; what runs it."""
        raise NotImplementedError

    async def probe(self) -> None:
        """Return when it serves; raise anything when it does not yet."""
        raise NotImplementedError

    async def settle(self) -> None:
        """What is left to do once it serves."""

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child and self._child.returncode is None else None

    async def start(self) -> None:
        """Ready when this returns. Raises ServerFailed; nothing is left running then."""
        if not self._placed:
            self.port, self._placed = free_port(self.port), True
        self._begin_log()
        self._child = await Child.spawn(await self.prepare())
        try:
            await self._until_ready(self._child)
            await self.settle()
        except BaseException:
            await self._child.stop(self.stop_deadline_s)
            raise

    async def wait(self) -> int:
        """Until it has ended, as a subprocess return code."""
        assert self._child is not None
        return await self._child.wait()

    async def stop(self, deadline_s: float | None = None) -> None:
        """Gracefully within the deadline (its own by default), then by force. Without effect when it is not running."""
        if self._child is not None:
            await self._child.stop(self.stop_deadline_s if deadline_s is None else deadline_s)

    async def _until_ready(self, child: Child) -> None:
        give_up = time.monotonic() + READY_DEADLINE_S
        while True:
            try:
                return await self.probe()
            except Exception as not_yet:
                if child.returncode is not None:
                    raise ServerFailed(f"{self.name} did not start: {self.last_words()} (log: {self.log})") from None
                if time.monotonic() > give_up:
                    raise ServerFailed(f"{self.name} is not ready after {READY_DEADLINE_S:.0f} s: {not_yet}") from None
            await asyncio.sleep(PROBE_INTERVAL_S)

    def last_words(self) -> str:
        """The line of this start's log that says why it ended: the last fatal one, or else the last."""
        with self.log.open("rb") as log:
            log.seek(self._log_begins)
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        fatal = [line for line in lines if any(mark in line for mark in FATAL_MARKS)]
        return (fatal or lines or ["it said nothing"])[-1]

    def _begin_log(self) -> None:
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > ROTATE_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))
        self.log.touch()
        self._log_begins = self.log.stat().st_size
