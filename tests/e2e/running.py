"""The real program, started through its command line as a child, seen and stopped from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from adapters.embedded.home import free_port
from tests.support import open_directory

PATIENCE_S = 120.0
POLL_S = 0.05
ALL_PARTS = {"up", "nats", "postgres", "valkey", "worker", "api"}


class Program:
    """One `agg up`. Where it is and who it is are read anew each time: parts come back under other ids."""

    def __init__(self, data_dir: Path, **environ: str) -> None:
        self.data_dir = data_dir
        self.served_log = data_dir.parent / "served.jsonl"
        self.environ = clean_environment(
            AGG_DATA_DIR=str(data_dir),
            AGG_SERVER_PORT=str(free_port()),
            AGG_SIM_SERVED_LOG=str(self.served_log),
            AGG_LOG_FORMAT="json",
            **environ,
        )
        self._said = data_dir.parent / "said"
        with self._said.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "api.cli", "up"], env=self.environ, stdout=output, stderr=output
            )

    @property
    def said(self) -> str:
        return self._said.read_text()

    @property
    def ready(self) -> dict[str, Any]:
        """Nothing before it serves."""
        try:
            return json.loads((self.data_dir / "ready.json").read_text())
        except FileNotFoundError:
            return {}

    @property
    def services(self) -> dict[str, Any]:
        return json.loads((self.data_dir / "services.json").read_text())

    @property
    def base_url(self) -> str:
        return self.ready["base_url"]

    @property
    def api_key(self) -> str:
        return self.ready["api_key"]

    @property
    def pids(self) -> dict[str, int]:
        return self.ready["pids"]

    def kill(self, part: str) -> None:
        os.kill(self.pids[part], signal.SIGKILL)

    def until_ready(self) -> None:
        until(lambda: self.ready or self._process.poll() is not None)
        assert self._process.poll() is None, self.said

    def until_back(self, part: str, killed_pid: int) -> None:
        """The supervisor has started it again."""
        until(lambda: self.pids.get(part, killed_pid) != killed_pid)

    def stop(self) -> None:
        """Gently, and nothing of it is left."""
        assert self._process.poll() is None, self.said
        started = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(PATIENCE_S) == 0, self.said
        assert [process for process in started if _is_alive(process)] == []
        assert _processes_in(self.data_dir) == []
        assert self.ready == {}

    def end_by_force(self) -> None:
        """For a test that failed: the children end with their parent."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        until(lambda: not _processes_in(self.data_dir))


@contextmanager
def running_program(**environ: str) -> Generator[Program, None, None]:
    """It serves when the body begins, and is stopped without a trace at its end."""
    with open_directory() as directory:
        program = Program(directory / "data", **environ)
        try:
            program.until_ready()
            yield program
            program.stop()
        finally:
            program.end_by_force()


@contextmanager
def running_beside(program: Program, *arguments: str, **environ: str) -> Generator["Beside", None, None]:
    """Another process of ours on the same data directory, such as a second API."""
    beside = Beside(program, *arguments, **environ)
    try:
        yield beside
    finally:
        beside.stop()


class Beside:
    def __init__(self, program: Program, *arguments: str, **environ: str) -> None:
        port = free_port()
        self.base_url = f"http://127.0.0.1:{port}"
        self._said = program.data_dir.parent / f"said-{port}"
        self._environ = {**program.environ, "AGG_SERVER_PORT": str(port), **environ}
        with self._said.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "api.cli", *arguments], env=self._environ, stdout=output, stderr=output
            )

    @property
    def said(self) -> str:
        return self._said.read_text()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def ask_to_stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def until_stopped(self) -> None:
        self._process.wait(PATIENCE_S)

    def stop(self) -> None:
        if self.is_running:
            self.ask_to_stop()
            self.until_stopped()


def clean_environment(**environ: str) -> dict[str, str]:
    """Nothing of ours, nor anybody's provider keys, but what is asked for."""
    ours = ("AGG_", "OPENAI_", "ANTHROPIC_", "GOOGLE_AI_", "COHERE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | environ


def until(true: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(POLL_S)


def _is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _processes_in(data_dir: Path) -> list[int]:
    """Servers name it in their command line, programs have it in their environment."""
    place = str(data_dir)
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "environ"])
        if place in str(process.info["cmdline"]) or (process.info["environ"] or {}).get("AGG_DATA_DIR") == place
    ]
