"""What JetStream says about a message that it delivers: all of it stands in the subject to reply to."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

EPOCH = datetime.fromtimestamp(0, UTC)
SHORT_FORM = 9
"""Tokens; newer servers name the domain and the account too."""


class Delivery(NamedTuple):
    """`position` in the stream, `number` among what its consumer delivered, and how many messages `follow`."""

    stream: str
    position: int
    number: int
    stored_ns: int
    follow: int

    @property
    def stored_at(self) -> datetime:
        return EPOCH + timedelta(microseconds=self.stored_ns // 1_000)


def read_delivery(reply: str) -> Delivery:
    """Raises ValueError when it is not from JetStream."""
    tokens = reply.split(".")
    stream = 2 if len(tokens) == SHORT_FORM else 4
    if not reply.startswith("$JS.ACK.") or len(tokens) < stream + 7:
        raise ValueError(f"not a delivery: {reply!r}")
    position, number, stored_ns, follow = tokens[stream + 3 : stream + 7]
    return Delivery(tokens[stream], int(position), int(number), int(stored_ns), int(follow))
