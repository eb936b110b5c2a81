"""`agg up` itself, with the real API and worker: from nothing to an answer, and again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from adapters.embedded.home import free_port
from tests.support import open_directory

START_S = 60.0


def up(data_dir: Path, port: int) -> subprocess.Popen[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AGG_")}
    environ = {**clean, "AGG_DATA_DIR": str(data_dir), "AGG_SERVER_PORT": str(port)}
    with (data_dir.parent / "said").open("ab") as output:
        return subprocess.Popen([sys.executable, "-m", "api.cli", "up"], env=environ, stdout=output, stderr=output)


def until_ready(process: subprocess.Popen[bytes], data_dir: Path) -> dict[str, Any]:
    give_up = time.monotonic() + START_S
    while not (data_dir / "ready.json").exists():
        said = (data_dir.parent / "said").read_text()
        assert process.poll() is None, said
        assert time.monotonic() < give_up, said
        time.sleep(0.05)
    return json.loads((data_dir / "ready.json").read_text())


def test_one_command_serves_from_nothing_and_keeps_its_key() -> None:
    with open_directory() as directory:
        data_dir, port, keys = directory / "data", free_port(), set[str]()
        for _ in range(2):
            process = up(data_dir, port)
            try:
                ready = until_ready(process, data_dir)
                keys.add(ready["api_key"])
                answer = httpx.post(
                    f"{ready['base_url']}/v1/chat/completions",
                    headers={"Authorization": f"Bearer {ready['api_key']}"},
                    json={"model": "sim/echo", "messages": [{"role": "user", "content": "Hello"}]},
                    trust_env=False,
                    timeout=10,
                )
                assert answer.status_code == 200, answer.text
            finally:
                process.send_signal(signal.SIGTERM)
                code = process.wait(60)
            assert code == 0
            assert not (data_dir / "ready.json").exists()
        assert len(keys) == 1
