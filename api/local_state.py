"""Small JSON files in the data directory that only we may read: secrets, where the servers are, what runs."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from api.startup import StartupError

SECRETS = "secrets.json"
SERVICES = "services.json"
READY = "ready.json"


class LocalState:
    """One JSON object in a file of mode 0600, replaced in one step and synced. One writer at a time: `agg up`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, object]:
        """What it holds; nothing when there is no file. Raises StartupError when it is damaged or not ours."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, object])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as failure:
            reason = failure.strerror if isinstance(failure, OSError) else failure
            raise StartupError(
                f"{self._path} cannot be read ({reason}): correct it, or set AGG_DATA_DIR to another directory"
            ) from None

    def write(self, values: Mapping[str, object]) -> None:
        """Replace everything."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(values), indent=2))
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(self._path)

    def update(self, **values: object) -> None:
        """Replace some."""
        self.write({**self.read(), **values})

    def keep(self, name: str, make: Callable[[], str]) -> str:
        """The text kept under `name`, made now if there is none."""
        kept = self.read().get(name)
        if isinstance(kept, str):
            return kept
        made = make()
        self.update(**{name: made})
        return made

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
