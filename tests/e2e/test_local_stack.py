"""`agg up` as seen from outside: what it says, what it leaves, what it brings back."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from adapters.embedded.home import free_port
from tests.support import open_directory

PARTS = {"up", "nats", "postgres", "valkey", "worker", "api"}
PATIENCE_S = 60.0


class Stack:
    """One run of the stand-in stack in a process of its own."""

    def __init__(self, data_dir: Path, port: int, kind: str, said: Path) -> None:
        self.data_dir = data_dir
        self.said = said
        environ = {**os.environ, "AGG_DATA_DIR": str(data_dir), "AGG_SERVER_PORT": str(port)}
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.stand_in_stack", "up", kind], env=environ, stderr=output
            )

    @property
    def output(self) -> str:
        return self.said.read_text()

    @property
    def ready(self) -> dict[str, object]:
        """What this run announced; what a killed one left behind does not count."""
        path = self.data_dir / "ready.json"
        announced = json.loads(path.read_text()) if path.exists() else {}
        return announced if announced.get("pids", {}).get("up") == self.process.pid else {}

    @property
    def pids(self) -> dict[str, int]:
        pids = self.ready.get("pids")
        return {str(name): int(pid) for name, pid in pids.items()} if isinstance(pids, dict) else {}

    def until_ready(self) -> "Stack":
        until(lambda: self.ready or self.process.poll() is not None)
        assert self.process.poll() is None, self.output
        return self

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


def until(true: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.02)


def offspring(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


Start = Callable[..., Stack]


@contextmanager
def starting() -> Generator[Start, None, None]:
    """Starts stacks in one data directory, on one port; what a test leaves running is killed."""
    stacks: list[Stack] = []
    with open_directory() as directory:
        port = free_port()

        def start_stack(kind: str = "good", name: str = "data") -> Stack:
            (directory / name).parent.mkdir(mode=0o700, exist_ok=True)
            stacks.append(Stack(directory / name, port, kind, directory / f"said-{len(stacks)}"))
            return stacks[-1]

        yield start_stack
        for stack in stacks:
            if stack.process.poll() is None:
                stack.process.kill()
                stack.process.wait()
        until(lambda: not [p for p in psutil.process_iter(["cmdline"]) if str(directory) in str(p.info["cmdline"])])


@pytest.fixture
def start() -> Generator[Start, None, None]:
    with starting() as start:
        yield start


@pytest.fixture(scope="module")
def first_and_start() -> Generator[tuple[Stack, Start], None, None]:
    """One that runs, and what starts others beside it. They do it no harm."""
    with starting() as start:
        first = start().until_ready()
        yield first, start
        assert first.stop() == 0


def test_it_serves_says_so_and_stops_without_a_trace(start: Start) -> None:
    stack = start().until_ready()
    ready, pids, running = stack.ready, stack.pids, offspring(stack.process)
    assert set(pids) == PARTS
    assert all(psutil.pid_exists(pid) for pid in pids.values())
    assert pids["up"] == stack.process.pid
    assert {"base_url", "api_key", "admin_email", "admin_password"} < set(ready)
    assert stat.S_IMODE((stack.data_dir / "ready.json").stat().st_mode) == 0o600
    until(lambda: "serving at" in stack.output)

    assert stack.stop() == 0
    assert alive(running) == []
    assert stack.ready == {}


def test_a_second_start_finds_key_ports_and_secrets_again(start: Start) -> None:
    first = start().until_ready()
    services, key = json.loads((first.data_dir / "services.json").read_text()), first.ready["api_key"]
    first.stop()
    second = start().until_ready()
    again = json.loads((second.data_dir / "services.json").read_text())
    second.stop()

    assert second.said != first.said
    assert {**again, "pids": 0} == {**services, "pids": 0}
    assert str(key) in second.output


def test_whatever_crashes_is_named_and_brought_back(start: Start) -> None:
    stack = start().until_ready()
    for name in PARTS - {"up"}:
        before = stack.pids
        os.kill(before[name], signal.SIGKILL)
        until(lambda: set(stack.pids) == PARTS and stack.pids[name] != before[name])  # noqa: B023 - called here only

        assert f"{name} was ended by SIGKILL; starting it again in 0.2 s" in stack.output
        assert {**stack.pids, name: 0} == {**before, name: 0}
        assert json.loads((stack.data_dir / "services.json").read_text())["pids"] == stack.pids

    running = offspring(stack.process)
    assert stack.stop() == 0
    assert alive(running) == []


def test_a_killed_parent_takes_everything_along_and_the_next_start_is_well(start: Start) -> None:
    stack = start(name="closed/data").until_ready()
    running = offspring(stack.process)
    stack.process.kill()
    stack.process.wait()

    second = start(name="closed/data").until_ready()
    assert alive(running) == []
    assert second.stop() == 0


def test_a_second_one_in_the_same_directory_is_refused_by_pid(first_and_start: tuple[Stack, Start]) -> None:
    first, start = first_and_start
    second = start()

    assert second.process.wait(PATIENCE_S) == 2
    assert f"already runs in {first.data_dir} (pid {first.process.pid})" in second.output
    assert second.output.count("\n") == 1


def test_a_taken_port_is_told_before_anything_starts(first_and_start: tuple[Stack, Start]) -> None:
    _, start = first_and_start
    second = start(name="elsewhere")

    assert second.process.wait(PATIENCE_S) == 2
    assert "set AGG_SERVER_PORT" in second.output
    assert second.output.count("\n") == 1
    assert not (second.data_dir / "logs").exists()


def test_a_directory_that_cannot_be_written_is_told(first_and_start: tuple[Stack, Start]) -> None:
    first, start = first_and_start
    first.data_dir.with_name("blocked").touch()
    second = start(name="blocked")

    assert second.process.wait(PATIENCE_S) == 2
    assert "set AGG_DATA_DIR" in second.output
    assert second.output.count("\n") == 1


def test_a_program_that_refuses_ends_everything(start: Start) -> None:
    stack = start("refusing")

    assert stack.process.wait(PATIENCE_S) == 2
    assert "this is why\nrefused: api refused to start; its reason is above\n" in stack.output


def test_it_can_be_stopped_before_it_serves(start: Start) -> None:
    stack = start("slow")
    until(lambda: stack.process.poll() is not None or len(offspring(stack.process)) >= 5)
    running = offspring(stack.process)

    assert stack.stop() == 0
    assert alive(running) == []


def test_a_second_signal_hurries(start: Start) -> None:
    stack = start("stubborn").until_ready()
    running = offspring(stack.process)
    stack.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert stack.process.poll() is None
    began = time.monotonic()

    assert stack.stop() == 0
    assert time.monotonic() - began < 5
    assert alive(running) == []


def test_a_port_taken_by_a_stranger_moves_the_server_not_its_data(start: Start) -> None:
    first = start().until_ready()
    port = json.loads((first.data_dir / "services.json").read_text())["redis"]["port"]
    first.stop()
    with closing(socket.create_server(("127.0.0.1", port))):
        second = start().until_ready()
        moved = json.loads((second.data_dir / "services.json").read_text())["redis"]["port"]
        assert second.stop() == 0

    assert moved != port
