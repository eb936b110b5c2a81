"""Every test, in two lanes side by side: the programs of e2e mostly wait for each other, the rest is one busy process.

    python -m tests.lanes

The second lane is shown when the first has ended, and the exit code is that of the first one that failed.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
from types import FrameType

PYTEST = (sys.executable, "-m", "pytest")
SHOWN_AT_ONCE = ("tests/unit", "tests/contract", "tests/integration")
SHOWN_AFTERWARDS = ("tests/e2e", "-p", "no:cacheprovider")


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores it, and so would all that it starts
    with tempfile.TemporaryFile("w+") as said:
        lanes = (
            subprocess.Popen([*PYTEST, *SHOWN_AT_ONCE]),
            subprocess.Popen([*PYTEST, *SHOWN_AFTERWARDS], stdout=said, stderr=subprocess.STDOUT),
        )
        _pass_on_the_end(lanes)
        codes = [lane.wait() for lane in lanes]
        said.seek(0)
        shutil.copyfileobj(said, sys.stdout)
    return next(filter(None, codes), 0)


def _pass_on_the_end(lanes: tuple["subprocess.Popen[bytes]", ...]) -> None:
    """Pytest takes down what it started when it is interrupted, not when it is terminated."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        for lane in lanes:
            lane.send_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal interrupts the lanes itself


if __name__ == "__main__":
    sys.exit(main())
