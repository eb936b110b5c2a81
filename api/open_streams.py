"""How many streams each key has open in this process."""

from domain.errors import Busy


class OpenStreams:
    """At most `per_key` at once. A stream whose client has left counts until its provider has ended."""

    def __init__(self, per_key: int) -> None:
        self._per_key = per_key
        self._open: dict[str, int] = {}

    def __getitem__(self, key: str) -> int:
        return self._open.get(key, 0)

    def __len__(self) -> int:
        """Keys that have any."""
        return len(self._open)

    def hold(self, key: str) -> None:
        """One more, until it is given back. Raises Busy."""
        already = self[key]
        if already >= self._per_key:
            raise Busy(f"This key has {already} streams open here; ask again when one of them has ended.")
        self._open[key] = already + 1

    def give_back(self, key: str) -> None:
        left = self._open.pop(key) - 1
        if left:
            self._open[key] = left
