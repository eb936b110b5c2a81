"""What is measured: an address that speaks OpenAI's chat completions, and the processes behind it."""

import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import msgspec

from bench.mock_upstream import Counts
from bench.processes import Cores, Failed, python, running

PATIENCE_S = 180.0
POLL_S = 0.1
MODEL = "gpt-4o-mini"
ROUTE = "gated"
"""To the same model; only the gateway has it."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """`pids` are measured; `beside` are those that work for it, by name. `messages_path` is where it takes Anthropic's
    messages, so that it must translate."""

    name: str
    version: str = ""
    port: int
    path: str = "/v1/chat/completions"
    messages_path: str | None = None
    headers: dict[str, str] = {}
    pids: set[int]
    beside: dict[str, set[int]] = {}


@contextmanager
def mock_upstream(directory: Path, cores: Cores) -> Generator[Target]:
    log = directory / "mock.log"
    with running(python("bench.mock_upstream"), log=log) as child:
        port = until(
            lambda: log.read_text().split("\n")[0] if "\n" in log.read_text() else None, "the mock", log, child
        )
        cores.beside([child.pid])
        yield Target(name="mock", port=int(port), pids={child.pid})


def mock_counts(mock: Target) -> Counts:
    return msgspec.json.decode(fetch(f"http://127.0.0.1:{mock.port}/"), type=Counts)


def fetch(url: str, headers: dict[str, str] | None = None, timeout_s: float = 5.0) -> bytes:
    """The body of a GET on this machine. Raises OSError."""
    opener = build_opener(ProxyHandler({}))
    opener.addheaders = list((headers or {}).items())
    with opener.open(url, timeout=timeout_s) as answer:
        return answer.read()


def until(ask: Callable[[], str | None], what: str, log: Path, child: subprocess.Popen[bytes]) -> str:
    """The first answer that is something. Raises Failed when the child ends or takes too long."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        if answer := ask():
            return answer
        if child.poll() is not None:
            raise Failed(f"{what} ended with {child.returncode}; its last words are in {log.name}")
        time.sleep(POLL_S)
    raise Failed(f"{what} is not ready after {PATIENCE_S:.0f} s")
