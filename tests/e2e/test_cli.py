"""The command line as a shell sees it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def agg(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it with nothing of ours in the environment but `environ`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AGG_")}
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments], env={**clean, **environ}, capture_output=True, text=True
    )


@pytest.mark.parametrize("command", ["up", "serve", "work", "migrate", "seed", "config"])
def test_a_wrong_setting_is_one_line_and_exit_code_2(command: str, tmp_path: Path) -> None:
    outcome = agg(command, AGG_AUTH_JWT_SECRET="short", AGG_DATA_DIR=str(tmp_path))

    assert outcome.returncode == 2
    assert outcome.stderr.startswith("agg: AGG_AUTH_JWT_SECRET is 5 bytes long")
    assert outcome.stderr.count("\n") == 1
    assert outcome.stdout == ""


def test_an_unknown_command_is_wrong_use() -> None:
    assert agg("upp").returncode == 2


def test_an_unknown_setting_is_warned_about_and_harmless() -> None:
    outcome = agg("config", AGG_SERVER_PROT="1")

    assert outcome.returncode == 0
    assert "did you mean AGG_SERVER_PORT?" in outcome.stderr


def test_config_shows_every_setting_for_people_and_for_scripts() -> None:
    plain = agg("config", OPENAI_API_KEY="hunter2")
    scripted = agg("config", "--json", OPENAI_API_KEY="hunter2")

    assert "AGG_SERVER_PORT" in plain.stdout
    assert "hunter2" not in plain.stdout + scripted.stdout
    assert {"name": "OPENAI_API_KEY", "value": "********", "origin": "env"} in json.loads(scripted.stdout)


def test_migrating_nothing_says_how_to_start_something(tmp_path: Path) -> None:
    outcome = agg("migrate", AGG_DATA_DIR=str(tmp_path))

    assert outcome.returncode == 2
    assert "start it with `just up`, or set AGG_NATS_URL" in outcome.stderr


def test_a_command_does_not_pay_for_the_others() -> None:
    heavy = "import sys, api.cli; sys.exit(any(m in sys.modules for m in ('nats', 'litestar', 'asyncpg', 'httpx')))"

    assert subprocess.run([sys.executable, "-c", heavy]).returncode == 0
