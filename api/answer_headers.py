"""What is said around an answer, whoever gives it: its headers, and what the headers of a stream cannot say."""

import re
from collections.abc import Sequence

from api.held import Held
from domain.ids import RequestId

NOT_IN_HEADERS = re.compile(r"[^\x20-\x7e]")
MAX_HEADER_CHARS = 2_000

JSON = (b"content-type", b"application/json")
EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


def answer_headers(
    request_id: RequestId, answered_by: tuple[str, str], attempts: int, position: int, held: Held
) -> list[tuple[bytes, bytes]]:
    """Without what it cost. `answered_by`: a provider and a model of the catalogue."""
    provider, model = answered_by
    return [
        (b"x-request-id", request_id.encode()),
        (b"x-agg-provider", provider.encode()),
        (b"x-agg-model", as_header(model)),
        *held.turn.headers,
        (b"x-agg-attempts", b"%d" % attempts),
        (b"x-agg-position", b"REQ:%d" % position),
        *held.limit_headers,
    ]


def cost_header(cost: str) -> tuple[bytes, bytes]:
    """`cost` is in USD."""
    return b"x-agg-cost-usd", cost.encode()


def receipt(cost: str, position: int) -> bytes:
    """What the headers of a stream cannot say before its end, as comments that clients pass over."""
    return f": x-agg-cost-usd: {cost}\n: x-agg-position: REQ:{position}\n\n".encode()


def dropped_header(dropped: Sequence[str]) -> tuple[bytes, bytes]:
    """The client's own words."""
    return b"x-agg-dropped", as_header(", ".join(dropped))


def as_header(said: str) -> bytes:
    """Nothing in it may end the header, or make it longer than clients read."""
    return NOT_IN_HEADERS.sub("?", said[:MAX_HEADER_CHARS]).encode()
