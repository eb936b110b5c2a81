"""One AI route over a provider that plays a script, and clients that do what clients do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from prometheus_client import CollectorRegistry

from api.ai_endpoint import AiEndpoint, AiParts
from api.ai_errors import AnthropicErrors, OpenAIErrors, ResponsesErrors
from api.ai_routes import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES
from api.answer_cache import AnswerCache
from api.open_streams import OpenStreams
from api.rate_limits import RateLimits
from api.telemetry import RequestTelemetry
from commands.route_plan import Bounds, Candidate, Resolved, RouteAsk, RoutePlan
from commands.store import EventStore
from domain.catalog import Model
from domain.deployment import Route
from domain.ids import RequestId
from domain.request import RequestEnd
from domain.upstream import Endpoint, ProviderCall, Reply, ReplyPiece
from tests.answering import PRICE, House, Upstream
from tests.money import ACCOUNT, give_credit
from tests.provider_ways import ASKED

HANG_S = 10
ENDPOINTS: dict[Endpoint, tuple[Any, Any]] = {
    "chat.completions": (CHAT, OpenAIErrors()),
    "messages": (MESSAGES, AnthropicErrors()),
    "responses": (RESPONSES, ResponsesErrors()),
}
"""Those with errors of their own."""
ROUTES: dict[Endpoint, tuple[Any, Any]] = {
    **ENDPOINTS,
    "completions": (COMPLETIONS, OpenAIErrors()),
    "embeddings": (EMBEDDINGS, OpenAIErrors()),
}
"""All that are charged."""


class Scripted(Upstream):
    """May wait between its answers, and drop parameters."""

    def __init__(
        self, *script: Reply | ReplyPiece | BaseException | asyncio.Event, dropped: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.steps = script
        self.called = asyncio.Event()
        self.dropped = dropped

    def prepare(self, call: ProviderCall) -> "Scripted":
        return self

    async def complete(self) -> Reply:
        return cast(Reply, [step async for step in self.stream()][-1])

    async def stream(self) -> AsyncIterator[ReplyPiece]:
        self.called.set()
        for step in self.steps:
            await asyncio.sleep(0)
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                yield cast(ReplyPiece, step)


class Client:
    """Sends one request. `on_message` is called with each message that it is sent, and may do anything."""

    def __init__(self, endpoint: Endpoint = "chat.completions", *, stream: bool = True, whole: bool = True) -> None:
        asked = {"model": "sim/echo", **ASKED[endpoint], "stream": stream}
        self.request_body = msgspec.json.encode(asked)
        self._whole = whole
        self._asked = False
        self.endpoint: Endpoint = endpoint
        self.hung_up = asyncio.Event()
        self.stops_reading = False
        self.is_gone = False
        self.sent: list[dict[str, Any]] = []
        self.on_message: Callable[[dict[str, Any]], None] = lambda _: None
        self.on_refused: Callable[[], None] = lambda: None

    async def receive(self) -> dict[str, Any]:
        if not self._asked and self._whole:
            self._asked = True
            return {"type": "http.request", "body": self.request_body, "more_body": False}
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if self.is_gone:
            self.on_refused()
            raise ConnectionResetError
        if self.stops_reading:
            await asyncio.Event().wait()
        self.sent.append(message)
        self.on_message(message)
        await asyncio.sleep(0)

    @property
    def status(self) -> int:
        (start,) = (message for message in self.sent if message["type"] == "http.response.start")
        assert self.sent[0] is start
        return start["status"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def is_told_the_end(self) -> bool:
        return not self.sent[-1].get("more_body", False)


class _Book:
    """Knows one model, by any name."""

    def __init__(self, alone: Candidate) -> None:
        self._alone = alone

    def resolve(self, name: str, endpoint: Endpoint, at: datetime) -> Resolved:
        return Resolved(self._alone.model.model, Route(name=name, deployments=()), True, (self._alone,))

    def plan(self, resolved: Resolved, ask: RouteAsk, bounds: Bounds | None = None) -> RoutePlan:
        return RoutePlan(ask=ask, trail=(), candidates=resolved.candidates, ceilings=bounds.ceilings if bounds else {})


class Gateway:
    """One AI route over a provider that plays a script."""

    def __init__(self, provider: Scripted, endpoint: Endpoint = "chat.completions", *, model: str = "sim/echo") -> None:
        self.provider = provider
        self.house = House(provider)
        self.house.clock.time = datetime.now(UTC)
        self.registry = CollectorRegistry()
        listed = Model(model, "sim", "echo", 8_000, 500)
        alone = Candidate("", listed, PRICE, "sim", "echo", "sim")
        self.parts = AiParts(
            authenticator=cast(Any, SimpleNamespace(admit=self._admit)),
            models=cast(Any, None),
            routes=cast(Any, _Book(alone)),
            answer_request=self.house.handler,
            given_again=cast(Any, None),
            limits=RateLimits(cast(Any, None), tuple, 0),
            streams=OpenStreams(100),
            cache=AnswerCache(cast(Any, None), cast(Any, None), cast(Any, None), lambda _: None),
            telemetry=RequestTelemetry(self.registry),
            new_request_id=lambda: RequestId("req_1"),
        )
        self.endpoint: Endpoint = endpoint
        self.app = AiEndpoint(self.parts, *ROUTES[endpoint])

    def replace(self, **parts: Any) -> "Gateway":
        """The same with other parts of `AiParts`."""
        self.parts = replace(self.parts, **parts)
        self.app = AiEndpoint(self.parts, *ROUTES[self.endpoint])
        return self

    async def _admit(self, headers: object) -> Any:
        return SimpleNamespace(account_id=ACCOUNT, key_id=None, user_id=None)

    async def serve(self, client: Client) -> None:
        """And nothing of it is left behind."""
        before = asyncio.all_tasks()
        await self.ask(client)
        assert asyncio.all_tasks() == before
        assert self.house.reserved == 0

    async def ask(self, client: Client, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        await give_credit(EventStore(self.house.log, "/tests"), 100_000)
        async with asyncio.timeout(HANG_S):
            await self.app({"type": "http", "headers": headers}, client.receive, client.send)
        await self.house.settles()

    @property
    def end(self) -> RequestEnd:
        return self.house.requests.end

    def counted(self, outcome: str) -> float:
        labels = {"model": "sim/echo", "provider": "sim", "outcome": outcome}
        return self.registry.get_sample_value("agg_requests_total", labels) or 0.0
