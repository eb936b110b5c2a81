"""An AI request from admission to end, over logs that may fail and a provider that plays a script."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import msgspec

from adapters.providers.sim import SimProvider
from commands.answer_request import AnswerRequest, AnswerRequestHandler, Running
from commands.credit_leases import CreditLeases
from commands.store import EventStore
from domain.catalog import Model
from domain.ids import AccountId, KeyId, RequestId, UserId
from domain.pricing import Price, Rates, Tokens, ceiling_nanos
from domain.request import RequestEnd, RequestEvent
from domain.upstream import ProviderCall, Reply, ReplyPiece, Usage
from tests.money import ACCOUNT, AT, Clock, RacingLog, counter, give_credit

RATES = Rates(input=1_000_000, output=4_000_000)
PRICE = Price("p1", AT, AT, RATES)
MESSAGES = msgspec.Raw(b'[{"role":"user","content":"Tell me."}]')
RESERVED = ceiling_nanos(1_000, 500, RATES)
UNPRICED_NANOS = 10_000
Failure = Callable[[RequestEvent], Exception | None]


class Requests:
    """A request log that may fail: `fails` answers the error for an event, which is recorded first unless `loses`."""

    def __init__(self) -> None:
        self.events: list[RequestEvent] = []
        self.fails: Failure = lambda _: None
        self.loses = False

    async def append(self, event: RequestEvent) -> int:
        error = self.fails(event)
        if not (error and self.loses):
            self.events.append(event)
        position = len(self.events)
        await asyncio.sleep(0)
        if error:
            raise error
        return position

    @property
    def end(self) -> RequestEnd:
        """The only one."""
        (end,) = (event for event in self.events if isinstance(event, RequestEnd))
        return end


class Upstream:
    """Plays a script: replies and pieces are given, errors raised. `asked` counts the calls."""

    name = "sim"
    dropped: Sequence[str] = ()

    def __init__(self, *script: Reply | ReplyPiece | BaseException) -> None:
        self.script = script
        self.asked = 0
        self.log_when_asked: list[int] = []
        self.requests: Requests | None = None

    def can(self, capability: str) -> bool:
        return True

    def prepare(self, call: ProviderCall) -> "Upstream":
        return self

    async def count_tokens(self, call: ProviderCall) -> int:
        return call.input_estimate

    def _called(self) -> None:
        self.asked += 1
        if self.requests:
            self.log_when_asked.append(len(self.requests.events))

    async def complete(self) -> Reply:
        self._called()
        (answer,) = self.script
        if isinstance(answer, BaseException):
            raise answer
        return cast(Reply, answer)

    async def stream(self) -> AsyncIterator[ReplyPiece]:
        self._called()
        for answer in self.script:
            await asyncio.sleep(0)
            if isinstance(answer, BaseException):
                raise answer
            yield cast(ReplyPiece, answer)


class House:
    """One worker with its provider."""

    def __init__(self, provider: Upstream | SimProvider) -> None:
        self.requests = Requests()
        self.log = RacingLog()
        self.clock = Clock()
        if isinstance(provider, Upstream):
            provider.requests = self.requests
        self.leases = CreditLeases(EventStore(self.log, "/w"), "w", self.clock, counter("w"), self._nobody_to_ask)
        self.handler = AnswerRequestHandler(self.leases, self.requests, {"sim": provider}, self.clock, UNPRICED_NANOS)

    async def _nobody_to_ask(self, account_id: AccountId) -> None:
        return None

    async def admit(self, **changes: Any) -> Running:
        await give_credit(EventStore(self.log, "/tests"), 10 * RESERVED)
        return await self.handler.admit(command(**changes))

    async def complete(self, **changes: Any) -> tuple[Running, Reply]:
        running = await self.admit(**changes)
        return running, await self.handler.complete(running)

    async def stream(self, **changes: Any) -> tuple[Running, list[ReplyPiece]]:
        running = await self.admit(stream=True, **changes)
        return running, [piece async for piece in self.handler.stream(running)]

    async def settles(self) -> None:
        """Let what goes on in the background come to its end."""
        for _ in range(10):
            await asyncio.sleep(0)

    @property
    def reserved(self) -> int:
        return sum(holding.reserved_nanos + holding.running for holding in self.leases._holdings.values())


def command(**changes: Any) -> AnswerRequest:
    """Changes of the command or of its call; `sim` shapes a simulated answer."""
    call = ProviderCall(
        request_id=RequestId("req_0190d3a5000170018203040506070809"),
        endpoint="chat.completions",
        upstream_model="echo",
        members={"model": msgspec.Raw(b'"sim/echo"'), "messages": MESSAGES},
        stream=False,
        include_usage=False,
        drop_params=False,
        input_estimate=20,
        max_output_tokens=500,
    )
    usual = AnswerRequest(
        call=call,
        account_id=ACCOUNT,
        key_id=KeyId("k"),
        user_id=UserId("u"),
        at=AT,
        started_s=0.0,
        model=Model("sim/echo", "sim", "echo", 8_000, 500),
        price=PRICE,
        choices=1,
        input_bound=1_000,
    )
    sim = changes.pop("sim", None)
    if sim is not None:
        changes["members"] = {**call.members, "sim": msgspec.Raw(msgspec.json.encode(sim))}
    of_call = {name: changes.pop(name) for name in tuple(changes) if name in ProviderCall.__struct_fields__}
    return msgspec.structs.replace(usual, call=msgspec.structs.replace(call, **of_call), **changes)


def used(prompt: int, completion: int) -> Usage:
    return Usage(msgspec.Raw(b'{"prompt_tokens":%d}' % prompt), Tokens(input=prompt, output=completion))


def reply(usage: Usage | None, chars: int = 40) -> Reply:
    return Reply(b"{}", "echo-1", "length", usage, chars)


def piece(chars: int = 0, usage: Usage | None = None) -> ReplyPiece:
    return ReplyPiece(b"data: x\n\n", chars, "echo-1", None, usage)
