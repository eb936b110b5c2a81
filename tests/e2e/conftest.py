"""The running program, once for each module that asks for it, and what a test wants to be read at the end."""

from collections.abc import Generator

import pytest

from tests.e2e.running import Program, running_program

REPORT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[REPORT]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="module")
def environ() -> dict[str, str]:
    """What its environment holds beside the usual; a module overrides it."""
    return {}


@pytest.fixture(scope="module")
def program(environ: dict[str, str]) -> Generator[Program, None, None]:
    with running_program(**environ) as running:
        yield running
