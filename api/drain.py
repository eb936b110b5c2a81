"""An API process that was told to stop: it takes no new work, and what runs may finish."""

from domain.errors import Unavailable

RETRY_AFTER_S = 1
"""By then a client's other connections to this process are closed, and it meets another one."""
CLOSE = (b"connection", b"close")
STILL_ANSWERED = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
"""Whoever watches goes on watching."""


class Draining(Unavailable):
    def __init__(self) -> None:
        super().__init__(
            "This server is being stopped and takes no new requests; ask again.", retry_after_s=RETRY_AFTER_S
        )


class Stopped(Unavailable):
    def __init__(self) -> None:
        super().__init__("This server was stopped before the answer was whole.", retry_after_s=RETRY_AFTER_S)


class Drain:
    """`is_on` from the moment on at which the process was told to stop, for ever."""

    def __init__(self) -> None:
        self.is_on = False

    def begin(self) -> None:
        self.is_on = True

    def refuses(self, path: str) -> bool:
        return self.is_on and path not in STILL_ANSWERED
