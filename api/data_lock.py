"""One `agg up` for each data directory.

Every child inherits the lock, so that it is held until the last of them is gone: two servers never work on one store,
not even when the process above them was killed and they are still shutting down.
"""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from api.startup import StartupError

LEFTOVERS_DEADLINE_S = 45.0
RETRY_S = 0.1


@contextmanager
def hold_data_dir(data_dir: Path) -> Generator[int, None, None]:
    """The descriptor that holds the lock, for servers to inherit. Raises StartupError when another holds it."""
    _make_writable(data_dir)
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _acquire(descriptor, data_dir)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _make_writable(data_dir: Path) -> None:
    try:
        if not data_dir.exists():
            data_dir.mkdir(parents=True)
            data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)  # PostgreSQL's account passes through root's
        probe = data_dir / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as failure:
        raise StartupError(
            f"the data directory {data_dir} cannot be written ({failure.strerror}): set AGG_DATA_DIR to one that can"
        ) from None


def _acquire(descriptor: int, data_dir: Path) -> None:
    """At once, or when what a killed predecessor left behind has ended."""
    give_up = time.monotonic() + LEFTOVERS_DEADLINE_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode()
        if _runs(holder):
            raise StartupError(
                f"agg up already runs in {data_dir} (pid {holder}): stop it, or set AGG_DATA_DIR to another directory"
            )
        if time.monotonic() > give_up:
            raise StartupError(f"processes that agg up (pid {holder}, gone) left behind still use {data_dir}: end them")
        time.sleep(RETRY_S)


def _runs(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
