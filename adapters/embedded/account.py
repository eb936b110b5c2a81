"""The unprivileged account that a server runs under when we are root (PostgreSQL refuses root)."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

UNPRIVILEGED = "nobody"

# Linux capabilities that let a process pass through closed directories, the lesser one first.
CAP_DAC_READ_SEARCH = 2
CAP_DAC_OVERRIDE = 1


@dataclass(frozen=True)
class Account:
    """`capability` is the one Linux capability that it keeps."""

    name: str
    uid: int
    gid: int
    capability: int | None = None


def unprivileged_account() -> Account | None:
    """The account to drop to; None when we are not root and stay who we are."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(UNPRIVILEGED)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def closed_directory(path: Path, account: Account) -> Path | None:
    """The first directory on the way to `path` (itself included) that the account may not enter."""
    resolved = path.resolve()
    return next((step for step in reversed([resolved, *resolved.parents]) if not _may_enter(step, account)), None)


def passing_capability() -> int | None:
    """What we can lend an account to pass through closed directories; None when we may not pass ourselves."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    permitted = next((int(line.split()[1], 16) for line in lines if line.startswith("CapPrm:")), 0)
    return next((cap for cap in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if permitted >> cap & 1), None)


def _may_enter(directory: Path, account: Account) -> bool:
    status = directory.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == account.gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)
