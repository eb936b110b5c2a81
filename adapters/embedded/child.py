"""A child process: bound to our life, stopped gracefully, then by force."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from adapters.embedded import bound_exec
from adapters.embedded.account import Account


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run. Output goes to the end of `log`, or to our stderr without one; `keep_fds` stay open in the child."""

    argv: Sequence[str | Path]
    stop_signal: signal.Signals = signal.SIGTERM
    log: Path | None = None
    account: Account | None = None
    cwd: Path | None = None
    env: Mapping[str, str] | None = None
    keep_fds: tuple[int, ...] = ()

    def bound_argv(self) -> list[str]:
        who = (self.account.uid, self.account.gid, self.account.capability) if self.account else (None, None, None)
        numbers = (os.getpid(), int(self.stop_signal), *(-1 if number is None else number for number in who))
        return [sys.executable, "-I", "-S", bound_exec.__file__, *map(str, numbers), *map(str, self.argv)]


class Child:
    """A running command, in a session of its own so that Ctrl-C reaches only us and we choose the order of stopping."""

    def __init__(self, process: asyncio.subprocess.Process, stop_signal: signal.Signals) -> None:
        self._process = process
        self._stop_signal = stop_signal

    @classmethod
    async def spawn(cls, command: Command) -> "Child":
        """From the main thread: Linux ends the child with the thread that started it."""
        output: IO[bytes] | IO[str] = command.log.open("ab") if command.log else sys.__stderr__ or sys.stderr
        try:
            process = await asyncio.create_subprocess_exec(
                *command.bound_argv(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=command.cwd,
                env=command.env,
                pass_fds=command.keep_fds,
                start_new_session=True,
            )
        finally:
            if command.log:
                output.close()
        return cls(process, command.stop_signal)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """As in subprocess: negative is the signal that ended it, None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Until it has ended; whatever it left in its process group ends too."""
        code = await self._process.wait()
        self._signal_group()
        return code

    async def stop(self, deadline_s: float) -> int:
        """Ask, wait for at most `deadline_s`, then kill."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(self._stop_signal)
            with suppress(TimeoutError):
                return await asyncio.wait_for(self.wait(), deadline_s)
            self._signal_group()
        return await self.wait()

    def _signal_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


async def run_to_end(command: Command) -> int:
    """Run a command that ends by itself; it is killed when we are cancelled."""
    child = await Child.spawn(command)
    try:
        return await child.wait()
    finally:
        await child.stop(0)
