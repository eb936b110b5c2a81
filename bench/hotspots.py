"""Where a Python process spends its CPU: py-spy's samples, folded to own time by function."""

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import msgspec

from bench.processes import ROOT, Failed, tool

RATE_HZ = 250
PACKAGES_SHOWN, FUNCTIONS_SHOWN, CALLERS_SHOWN = 16, 30, 20
ALL = "(all)"
OUR_PACKAGES = {"api", "adapters", "commands", "domain"}
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>.*?)(?::\d+)?\)$")


class Hotspot(msgspec.Struct, frozen=True):
    """Shares of all samples: in the function itself, and in it or in what it called. `(all)` is a whole package."""

    own_percent: float
    total_percent: float
    module: str
    function: str


def record(pid: int, seconds: int, rate_hz: int = RATE_HZ) -> str:
    """Samples of a process that runs now, `outer;…;inner count` a line. Raises Failed."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "samples.txt"
        argv = [tool("py-spy"), "record", "-p", str(pid), "-d", str(seconds), "-r", str(rate_hz), "-f", "raw"]
        done = subprocess.run([*argv, "-o", str(out)], capture_output=True, text=True, check=False)
        if not out.exists():
            raise Failed(f"py-spy: {done.stderr[-300:]}")
        return out.read_text()


def share_of(samples: str, module: str, function: str) -> float:
    """Of all samples, those in this function or in what it called: between 0 and 1."""
    inside = taken = 0
    for line in samples.splitlines():
        stack, _, count = line.rpartition(" ")
        taken += int(count)
        if (module, function) in map(_place, stack.split(";")):
            inside += int(count)
    return inside / max(1, taken)


def fold(samples: str) -> list[Hotspot]:
    """Packages and functions, the most own time first, then what calls most."""
    own: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    samples_taken = 0
    for line in samples.splitlines():
        stack, _, count = line.rpartition(" ")
        places = [_place(frame) for frame in stack.split(";")]
        innermost = places[-1]
        samples_taken += int(count)
        for counter, found in ((own, {innermost, _package(innermost)}), (total, {*places, *map(_package, places)})):
            for place in found:
                counter[place] += int(count)
    packages = [place for place, _ in own.most_common() if place[1] == ALL][:PACKAGES_SHOWN]
    functions = [place for place, _ in own.most_common() if place[1] != ALL][:FUNCTIONS_SHOWN]
    callers = [p for p, _ in total.most_common() if p[1] != ALL and p not in functions and _ours(p)][:CALLERS_SHOWN]
    share = 100 / max(1, samples_taken)
    return [Hotspot(own[p] * share, total[p] * share, *p) for p in (*packages, *functions, *callers)]


def _place(frame: str) -> tuple[str, str]:
    found = _FRAME.match(frame)
    if found is None:
        return "?", frame
    return found["file"].removeprefix(f"{ROOT}/").rpartition("site-packages/")[2], found["function"]


def _package(place: tuple[str, str]) -> tuple[str, str]:
    return place[0].partition("/")[0], ALL


def _ours(place: tuple[str, str]) -> bool:
    return place[0].partition("/")[0] in OUR_PACKAGES
