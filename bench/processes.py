"""Child processes, and what the kernel says about them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROC = Path("/proc")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
STOP_S = 30.0
UTIME, STIME, PPID = 11, 12, 1
"""Where they stand in /proc/PID/stat after the name."""


class Failed(Exception):
    """What was to be measured does not run."""


def family(pids: Iterable[int]) -> set[int]:
    """These processes and all their descendants."""
    parents = {int(path.name): _stat(int(path.name)) for path in PROC.iterdir() if path.name.isdigit()}
    found = {pid for pid in pids if parents.get(pid)}
    while more := {pid for pid, stat in parents.items() if stat and int(stat[PPID]) in found} - found:
        found |= more
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """User and system time of all threads."""
    return sum((int(stat[UTIME]) + int(stat[STIME])) * TICK_S for pid in pids if (stat := _stat(pid)))


def rss_mb(pids: Iterable[int]) -> float:
    kilobytes = 0
    for pid in pids:
        with suppress(OSError):
            for line in (PROC / str(pid) / "status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    kilobytes += int(line.split()[1])
    return kilobytes / 1024


def _stat(pid: int) -> list[str]:
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


class Cores:
    """The measured process has the first core for itself; everything else shares the others."""

    def __init__(self, *, pinned: bool) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.pinned = pinned and len(cores) > 1
        self._first, self._others = {cores[0]}, set(cores[1:])

    def measured(self, pids: Iterable[int]) -> None:
        self._pin(pids, self._first)

    def beside(self, pids: Iterable[int]) -> None:
        self._pin(pids, self._others)

    def _pin(self, pids: Iterable[int], cores: set[int]) -> None:
        if not self.pinned:
            return
        for pid in pids:
            with suppress(OSError):
                for thread in (PROC / str(pid) / "task").iterdir():
                    with suppress(OSError):
                        os.sched_setaffinity(int(thread.name), cores)


@contextmanager
def running(
    argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT, stop_s: float = STOP_S
) -> Generator[subprocess.Popen[bytes]]:
    """A child in a session of its own; whatever is left of it is ended with it."""
    with log.open("ab") as stream:
        child = subprocess.Popen(argv, cwd=cwd, env=env, stdout=stream, stderr=stream, start_new_session=True)
    try:
        yield child
    finally:
        left = family([child.pid])
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(stop_s)
        for pid in left | {child.pid}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        child.wait()


def python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def tool(name: str) -> str:
    """The program's path. Raises Failed when there is none."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if path is None:
        raise Failed(f"{name} is not installed")
    return path


def plain_environment(**more: str) -> dict[str, str]:
    """Ours without settings of AI gateways and proxies, so that nothing but the mock is asked."""
    theirs = ("AGG_", "OPENAI_", "ANTHROPIC_", "GOOGLE_AI_", "COHERE_", "LITELLM_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(theirs) and not k.lower().endswith("_proxy")}
    return {**kept, **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tail(log: Path, lines: int = 15) -> str:
    with suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return ""
