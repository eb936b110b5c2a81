"""What one AI request holds beside its credit: a place within the limits, one among its key's streams, a turn at the
cache. All of it is given back once, however the request ends."""

from collections.abc import Sequence

from api.answer_cache import BYPASS, CacheTurn
from api.open_streams import OpenStreams
from api.rate_limits import UNLIMITED, Permit
from commands.running import Running


class Held:
    """`running` is the request from its admission on."""

    __slots__ = ("_further", "_is_counted", "_permit", "_streams", "_streams_key", "running", "turn")

    def __init__(self) -> None:
        self.turn: CacheTurn = BYPASS
        self.running: Running | None = None
        self._permit: Permit = UNLIMITED
        self._further: Permit = UNLIMITED
        self._is_counted = False
        self._streams: OpenStreams | None = None
        self._streams_key = ""

    @property
    def limit_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """What a client is told of its limits."""
        return self._permit.headers

    def hold_stream(self, streams: OpenStreams, key: str) -> None:
        """Raises Busy."""
        streams.hold(key)
        self._streams, self._streams_key = streams, key

    def hold(self, permit: Permit) -> None:
        self._permit = permit

    def hold_further(self, permit: Permit) -> None:
        """For what the first one is too small for."""
        self._further = permit

    def count_use(self, tokens: int, nanos: int) -> None:
        """Before the client is told: who asks next finds the place free. Only the first word counts."""
        if not self._is_counted:
            self._is_counted = True
            self._permit.ended(tokens, nanos)
            self._further.ended(0, 0)

    def count_end(self) -> None:
        """What was used by the end of what runs; nothing without one."""
        end = self.running.end if self.running else None
        self.count_use(end.tokens.total if end else 0, end.cost_nanos if end else 0)

    def give_back(self) -> None:
        """As often as you like."""
        self.count_end()
        self.turn.end()
        if self._streams is not None:
            self._streams.give_back(self._streams_key)
            self._streams = None
