"""What is said and done about programs that do not stay."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from api.supervisor import Program, Supervisor, how_it_ended


async def test_a_program_that_keeps_failing_is_started_later_each_time() -> None:
    said: list[str] = []
    supervisor = Supervisor(said.append, lambda pids: None)
    await supervisor.start(Program("brittle", ("/bin/sh", "-c", "exit 3")))
    await asyncio.sleep(1.2)
    await supervisor.stop(asyncio.Event())

    crashes = [line for line in said if "exited" in line]
    assert crashes[:3] == [
        f"brittle exited with code 3; starting it again in {backoff} s" for backoff in ("0.2", "0.4", "0.8")
    ]


async def test_exit_code_2_is_a_refusal_and_not_tried_again() -> None:
    said: list[str] = []
    supervisor = Supervisor(said.append, lambda pids: None)
    await supervisor.start(Program("strict", ("/bin/sh", "-c", "exit 2")))

    assert await asyncio.wait_for(supervisor.refusal, 5) == "strict refused to start; its reason is above"
    assert said == []
    await supervisor.stop(asyncio.Event())


async def test_a_program_that_has_run_is_tried_again_when_it_refuses_during_an_outage(tmp_path: Path) -> None:
    """Killed together with the log, it may find the log still away."""
    said: list[str] = []
    supervisor = Supervisor(said.append, lambda pids: None)
    script = 'test -e "$0" && exit 2; touch "$0"; exit 3'
    await supervisor.start(Program("unlucky", ("/bin/sh", "-c", script, str(tmp_path / "ran"))))
    async with asyncio.timeout(20):
        while "unlucky exited with code 2; starting it again in 0.8 s" not in said:  # noqa: ASYNC110  (nobody tells)
            await asyncio.sleep(0.02)

    assert not supervisor.refusal.done()
    await supervisor.stop(asyncio.Event())


async def test_the_helpers_of_a_program_end_with_it() -> None:
    seen: list[Mapping[str, int]] = []
    supervisor = Supervisor(lambda line: None, seen.append)
    first = Program("first", ("/bin/sleep", "60"))
    second = Program("second", ("/bin/sh", "-c", "sleep 60 & wait"))
    await supervisor.start(first)
    await supervisor.start(second)
    assert [set(pids) for pids in seen] == [{"first"}, {"first", "second"}]

    await asyncio.sleep(0.2)
    helpers = psutil.Process(second.pid).children()
    assert helpers
    await supervisor.stop(asyncio.Event())
    assert supervisor.pids == {}
    psutil.wait_procs(helpers, timeout=5)
    assert not [helper for helper in helpers if helper.is_running() and helper.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("code", "phrase"), [(0, "exited with code 0"), (-11, "was ended by SIGSEGV"), (-40, "was ended by signal 40")]
)
def test_the_end_of_a_program_is_told_in_words(code: int, phrase: str) -> None:
    assert how_it_ended(code) == phrase
