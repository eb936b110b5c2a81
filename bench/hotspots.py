"""Where a Python process spends its CPU: py-spy's samples, folded to own time by function."""

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import msgspec

from bench.processes import ROOT, Failed, tool

RATE_HZ = 250
SHOWN = 40
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>.*?)(?::\d+)?\)$")


class Hotspot(msgspec.Struct, frozen=True):
    percent: float
    module: str
    function: str


def record(pid: int, seconds: int) -> list[Hotspot]:
    """The functions with most own time, and each module's sum as `(all)`. Raises Failed."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "samples.txt"
        argv = [tool("py-spy"), "record", "-p", str(pid), "-d", str(seconds), "-r", str(RATE_HZ), "-f", "raw"]
        done = subprocess.run([*argv, "-o", str(out)], capture_output=True, text=True, check=False)
        if not out.exists():
            raise Failed(f"py-spy: {done.stderr[-300:]}")
        return fold(out.read_text())


def fold(samples: str) -> list[Hotspot]:
    """`outer;…;inner count` a line."""
    functions: Counter[tuple[str, str]] = Counter()
    for line in samples.splitlines():
        stack, _, count = line.rpartition(" ")
        functions[_place(stack.rpartition(";")[2])] += int(count)
    total = max(1, functions.total())
    modules: Counter[tuple[str, str]] = Counter()
    for (module, _), count in functions.items():
        modules[module, "(all)"] += count
    top = [*modules.most_common(SHOWN // 2), *functions.most_common(SHOWN)]
    return [Hotspot(100 * count / total, module, function) for (module, function), count in top]


def _place(frame: str) -> tuple[str, str]:
    found = _FRAME.match(frame)
    if found is None:
        return "?", frame
    return found["file"].removeprefix(f"{ROOT}/").rpartition("site-packages/")[2], found["function"]
