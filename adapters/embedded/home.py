"""What every embedded server keeps on disk: private folders and files, a password, a port."""

import os
import secrets
import socket
from pathlib import Path

from adapters.embedded.account import Account

LOOPBACK = "127.0.0.1"
PASSWORD_BYTES = 24
PORTS = range(20_000, 32_000)
ATTEMPTS = 100


def make_private_directory(path: Path, account: Account | None = None) -> Path:
    """Create it (0700) unless it exists, owned by `account`."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    _own(path, account)
    return path


def write_private(path: Path, text: str, account: Account | None = None) -> None:
    """Replace a file (0600) in one step."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    _own(scratch, account)
    scratch.replace(path)


def kept_password(home: Path, account: Account | None = None) -> str:
    """The server's password: made at first use, then always the same (URL-safe characters)."""
    path = home / "password"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(PASSWORD_BYTES), account)
    return path.read_text()


def free_port(preferred: int | None = None, *, avoid: int | None = None) -> int:
    """`preferred` when nothing listens there, else any free port of the loopback interface; never `avoid`.

    Never one that the kernel hands to outgoing connections: a client that retries while the server restarts could get
    its own target as source, connect to itself, and keep the server from coming back.
    """
    for _ in range(ATTEMPTS):
        port, preferred = preferred or secrets.choice(PORTS), None
        if port != avoid and _bindable(port):
            return port
    raise OSError(f"no free port on the loopback interface between {PORTS[0]} and {PORTS[-1]}")


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is no obstacle
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _own(path: Path, account: Account | None) -> None:
    if account:
        os.chown(path, account.uid, account.gid)
