"""Keeps processes running: starts them, says when one ends, starts it again, stops them in order."""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from adapters.embedded.child import Child, Command
from adapters.embedded.server import ServerFailed

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 5.0
HEALTHY_S = 30.0
PROGRAM_DEADLINE_S = 20.0
"""To close what is open, and to record what is due."""
HURRIED_DEADLINE_S = 1.0
REFUSED = 2  # the exit code of a program that said why it does not start


class Part(Protocol):
    """A process under supervision. `wait` answers as subprocess does: negative is the signal that ended it."""

    @property
    def name(self) -> str: ...
    @property
    def pid(self) -> int | None: ...
    async def start(self) -> None: ...
    async def wait(self) -> int: ...
    async def stop(self, deadline_s: float | None = None) -> None: ...


class Program:
    """A part that counts as started once it runs; its output is ours. It stops within `stop_s`, or is killed."""

    def __init__(
        self, name: str, argv: Sequence[str], *, keep_fds: tuple[int, ...] = (), stop_s: float = PROGRAM_DEADLINE_S
    ) -> None:
        self.name = name
        self._stop_s = stop_s
        self._command = Command(argv=argv, keep_fds=keep_fds)
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child and self._child.returncode is None else None

    async def start(self) -> None:
        self._child = await Child.spawn(self._command)

    async def wait(self) -> int:
        assert self._child is not None
        return await self._child.wait()

    async def stop(self, deadline_s: float | None = None) -> None:
        if self._child is not None:
            await self._child.stop(self._stop_s if deadline_s is None else deadline_s)


@dataclass(frozen=True)
class StopSignal:
    """The first signal asks to stop, the second to hurry."""

    requested: asyncio.Event
    hurry: asyncio.Event

    @classmethod
    def from_signals(cls) -> "StopSignal":
        """Of this process, for as long as the running loop lives. SIGHUP stays ignored under nohup."""
        stop = cls(asyncio.Event(), asyncio.Event())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN or number is not signal.SIGHUP:
                asyncio.get_running_loop().add_signal_handler(number, stop.receive)
        return stop

    def receive(self) -> None:
        (self.hurry if self.requested.is_set() else self.requested).set()


class Supervisor:
    """`say` gets one line for each thing a person should know; `on_pids` the process ids whenever they change."""

    def __init__(self, say: Callable[[str], None], on_pids: Callable[[Mapping[str, int]], None]) -> None:
        self._say = say
        self._on_pids = on_pids
        self._parts: list[Part] = []
        self._keepers: list[asyncio.Task[None]] = []
        self.refusal: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def pids(self) -> dict[str, int]:
        return {part.name: part.pid for part in self._parts if part.pid is not None}

    async def start(self, *parts: Part) -> None:
        """All at the same time. Raises what the first one that fails raises; `stop` is needed even then."""
        self._parts.extend(parts)
        outcomes = await asyncio.gather(*(part.start() for part in parts), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        self._keepers.extend(asyncio.create_task(self._keep(part)) for part in parts)
        self._on_pids(self.pids)

    async def stop(self, hurry: asyncio.Event) -> None:
        """The last started first, one after the other; all that still run within a second once `hurry` is set."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        hurried = asyncio.create_task(hurry.wait())
        for part in reversed(self._parts):
            stopping = asyncio.create_task(part.stop())
            await asyncio.wait({stopping, hurried}, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                await part.stop(HURRIED_DEADLINE_S)
            await stopping
        hurried.cancel()

    async def _keep(self, part: Part) -> None:
        """Start it again whenever it ends, later each time, until it has been well for a while."""
        backoff_s = FIRST_BACKOFF_S
        came_back = False
        while True:
            since = time.monotonic()
            code = await part.wait()
            if code == REFUSED and isinstance(part, Program) and not came_back:
                self._refuse(part)
                return
            if time.monotonic() - since > HEALTHY_S:
                backoff_s = FIRST_BACKOFF_S
            self._say(f"{part.name} {how_it_ended(code)}; starting it again in {backoff_s:g} s")
            self._on_pids(self.pids)
            backoff_s = await self._start_again(part, backoff_s)
            came_back = True  # it has run with these settings: what it refuses now is an outage of something else
            self._say(f"{part.name} runs again (pid {part.pid})")
            self._on_pids(self.pids)

    async def _start_again(self, part: Part, backoff_s: float) -> float:
        """Until it starts; what to wait the next time."""
        while True:
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
            try:
                await part.start()
            except (ServerFailed, OSError) as failure:
                self._say(f"{failure}; trying again in {backoff_s:g} s")
            else:
                return backoff_s

    def _refuse(self, part: Part) -> None:
        if not self.refusal.done():
            self.refusal.set_result(f"{part.name} refused to start; its reason is above")


def how_it_ended(code: int) -> str:
    """As people say it: 'exited with code 1', 'was killed by SIGKILL'."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
