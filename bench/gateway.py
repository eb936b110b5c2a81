"""The gateway as a person starts it: `agg up` with its own NATS, PostgreSQL and Valkey, every write synced."""

import shutil
import signal
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from api.local_state import READY
from bench.processes import Cores, Failed, family, free_port, plain_environment, python, running, tail
from bench.target import Target, fetch, mock_counts, until

CATALOGUE = Path(__file__).with_name("gate.toml")
NANOS = 1_000_000_000
SETTLING_S = 30.0
QUIET_S = 3.0
"""So long without a change, the balance is settled."""


class Ready(msgspec.Struct):
    base_url: str
    api_key: str
    pids: dict[str, int]
    admin_email: str = ""
    admin_password: str = ""


class Running(msgspec.Struct, frozen=True):
    target: Target
    ready: Ready


class Settled(msgspec.Struct, kw_only=True):
    """Charged against served; `charged_nanos` is None where the balance cannot be read."""

    upstream_answers: int
    client_answers: int
    expected_nanos: int = 0
    charged_nanos: int | None = None
    remark: str = ""

    @property
    def agrees(self) -> bool:
        return self.charged_nanos in (None, self.expected_nanos) and self.upstream_answers == self.client_answers


@contextmanager
def gateway(mock: Target, cores: Cores) -> Generator[Running]:
    directory = Path(tempfile.mkdtemp(prefix="agg-bench-"))
    directory.chmod(0o711)  # as root, PostgreSQL is somebody else
    data, log, port = directory / "data", directory / "up.log", free_port()
    environment = plain_environment(
        AGG_DATA_DIR=str(data),
        AGG_SERVER_PORT=str(port),
        AGG_LOG_LEVEL="warning",
        OPENAI_BASE_URL=f"http://127.0.0.1:{mock.port}/v1",
        OPENAI_API_KEY="dummy",
        AGG_CATALOG=str(CATALOGUE),
    )
    try:
        with running(python("api.cli", "up"), log=log, env=environment) as child:
            try:
                until(lambda: str((data / READY).exists() or ""), "the gateway", log, child)
            except Failed as failure:
                raise Failed(f"{failure}\n{tail(log)}") from None
            ready = msgspec.json.decode((data / READY).read_bytes(), type=Ready)
            yield Running(_target(ready, port, cores), ready)
            child.send_signal(signal.SIGINT)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _target(ready: Ready, port: int, cores: Cores) -> Target:
    groups = {name: family([pid]) for name, pid in ready.pids.items() if name != "up"}
    measured = groups.pop("api")
    for pids in groups.values():
        cores.beside(pids)
    cores.measured(measured)
    return Target(
        name="gateway",
        port=port,
        messages_path="/v1/messages",
        headers={"authorization": f"Bearer {ready.api_key}"},
        pids=measured,
        beside=groups,
    )


def balance_nanos(running: Running) -> int | None:
    url = f"{running.ready.base_url}/api/v1/billing/balance"
    try:
        answer = msgspec.json.decode(fetch(url, running.target.headers), type=dict[str, object])
    except (OSError, msgspec.DecodeError):
        return None
    found = answer.get("balance_nanos")
    return found if isinstance(found, int) else None


def settled(running: Running, mock: Target, before: int | None, served_before: int, answers: int, cost: int) -> Settled:
    """Waits until the balance rests, then compares. `answers` are those that were not from the cache."""
    after = resting_balance(running) if before is not None else None
    served = mock_counts(mock).answered - served_before
    return Settled(
        upstream_answers=served,
        client_answers=answers,
        expected_nanos=served * cost,
        charged_nanos=None if before is None or after is None else before - after,
        remark="" if before is not None else "the balance cannot be read yet: not compared",
    )


def resting_balance(running: Running) -> int | None:
    """None where the route does not answer."""
    give_up, since, last = time.monotonic() + SETTLING_S, time.monotonic(), balance_nanos(running)
    while time.monotonic() < min(give_up, since + QUIET_S):
        time.sleep(0.2)
        if (now := balance_nanos(running)) != last:
            since, last = time.monotonic(), now
    return last
