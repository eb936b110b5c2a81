"""One AI request: as it came, as the catalogue sees it, and what it holds."""

import time
from dataclasses import dataclass
from datetime import datetime

from adapters.dialects.dialect import ClientRequest
from api.ai_errors import ErrorFormat
from api.auth import Caller
from api.body import Receive
from api.held import Held
from api.send import Send
from commands.route_plan import Bounds, Resolved
from domain.ids import RequestId


@dataclass(frozen=True)
class Client:
    """Who waits: the two ends of their connection, and how they want to be told of failures."""

    receive: Receive
    send: Send
    errors: ErrorFormat


class Asked:
    """Known step by step: who asks, `at` what time, for what, and then by whom it may be answered (`resolved`) within
    which `bounds`. Its limits were asked for `demanded`."""

    __slots__ = (
        "at",
        "bounds",
        "caller",
        "client",
        "demanded",
        "held",
        "request",
        "request_id",
        "resolved",
        "started_s",
    )

    at: datetime
    caller: Caller
    request: ClientRequest
    resolved: Resolved
    bounds: Bounds
    demanded: Bounds

    def __init__(self, request_id: RequestId, client: Client) -> None:
        self.started_s = time.perf_counter()
        self.request_id = request_id
        self.client = client
        self.held = Held()
