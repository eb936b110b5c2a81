"""A progress bar with rate and time left, on a terminal; nothing otherwise."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


class Bar:
    """Made by `progress`. `begin` names the next part of the work and how much it is, if that is known."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = None

    def begin(self, what: str, total: int | None) -> None:
        self._task = self._bars.add_task(what, total=total)

    def advance(self, steps: int) -> None:
        if self._task is not None:
            self._bars.advance(self._task, steps)


@contextmanager
def progress(*, wanted: bool = True) -> Generator[Bar]:
    """On stderr, so that what is printed can be piped."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    shown = wanted and sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True) as bars:
        yield Bar(bars)
