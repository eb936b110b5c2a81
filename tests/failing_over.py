"""A request to a route: its deployments play scripts, time passes only while somebody waits, permits are counted."""

import asyncio
from collections.abc import AsyncIterator, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import msgspec

from commands.answer_request import AnswerRequestHandler, Running
from commands.deployment_views import DeploymentViews
from commands.failover import Failover
from commands.holds import Holds
from commands.route_limits import RouteLimits
from commands.route_plan import RouteAsk, RoutePlan
from commands.route_requests import RouteBook
from commands.store import EventStore
from domain.breaker import Phase
from domain.breakers import BreakerView, Permit
from domain.catalog import Model
from domain.deployment import Deployment, Route
from domain.errors import AggregatorError, ModelNotFound
from domain.limits import Rule
from domain.pricing import Price, Rates, ceiling_nanos
from domain.request import RequestAttempted, RequestEnd
from domain.retry_budget import RetryBudget, RetryPolicy
from domain.upstream import Endpoint, ProviderCall, Reply, ReplyPiece
from tests.answering import RATES, UNPRICED_NANOS, House, Upstream, command, piece, reply, used
from tests.limits import BookLimiter
from tests.money import AT, give_credit

HANG = ReplyPiece(b"never comes")
"""In a script: nothing more comes."""


class Gate:
    """In a script: nothing comes before the test says what."""

    def __init__(self) -> None:
        self._is_open = asyncio.Event()
        self._answer: Scripted | None = None

    def give(self, answer: "Scripted") -> None:
        self._answer = answer
        self._is_open.set()

    async def passed(self) -> "Scripted":
        await self._is_open.wait()
        assert self._answer is not None
        return self._answer


Scripted = Reply | ReplyPiece | BaseException | Gate
Script = Scripted | Sequence[Scripted]

GOOD = reply(used(10, 5))
GOOD_STREAM: Sequence[ReplyPiece] = (piece(), piece(8), piece(8), piece(usage=used(10, 5)))
INPUT_BOUND, OUTPUT = 1_000, 500
CREDIT_NANOS = 10 * ceiling_nanos(INPUT_BOUND, OUTPUT, RATES)


class Line:
    """A provider that plays one script a call, the last one for ever; without any it answers well. `working` counts the
    calls that have neither ended nor been closed."""

    def __init__(self, name: str, *scripts: Script, cannot: Exception | None = None) -> None:
        self.name = name
        self.scripts = scripts
        self.cannot = cannot
        self.calls: list[ProviderCall] = []
        self.working = 0

    def can(self, capability: str) -> bool:
        return True

    def prepare(self, call: ProviderCall) -> "LineCall":
        if self.cannot is not None:
            raise self.cannot
        return LineCall(self, call)

    async def count_tokens(self, call: ProviderCall) -> int:
        return call.input_estimate

    def next_script(self, call: ProviderCall) -> list[Scripted]:
        self.calls.append(call)
        usual: Script = GOOD_STREAM if call.stream else GOOD
        script = self.scripts[min(len(self.calls), len(self.scripts)) - 1] if self.scripts else usual
        return list(script) if isinstance(script, Sequence) else [script]


class LineCall:
    dropped: Sequence[str] = ()

    def __init__(self, line: Line, call: ProviderCall) -> None:
        self._line = line
        self._call = call

    async def complete(self) -> Reply:
        (answer,) = self._line.next_script(self._call)
        with self._at_work():
            return cast(Reply, await _played(answer))

    async def stream(self) -> AsyncIterator[ReplyPiece]:
        with self._at_work():
            for answer in self._line.next_script(self._call):
                yield cast(ReplyPiece, await _played(answer))

    @contextmanager
    def _at_work(self) -> Generator[None]:
        self._line.working += 1
        try:
            yield
        finally:
            self._line.working -= 1


async def _played(answer: Scripted) -> Scripted:
    await asyncio.sleep(0)
    if isinstance(answer, Gate):
        answer = await answer.passed()
    if answer is HANG:
        await asyncio.Event().wait()
    if isinstance(answer, BaseException):
        raise answer
    return answer


class CountedBreakers:
    """Admits all but the `closed_off`. `told` is what came back of each permit; None for an answer."""

    def __init__(self) -> None:
        self.closed_off: set[str] = set()
        self.phases: dict[str, Phase] = {}
        self.out: dict[int, Permit] = {}
        self.told: list[tuple[str, AggregatorError | None]] = []
        self.left: list[str] = []

    def keep(self, deployments: frozenset[str]) -> None:
        raise NotImplementedError

    def phase(self, deployment: str) -> Phase:
        return self.phases.get(deployment, "closed")

    async def admit(self, deployment: str) -> Permit | None:
        await asyncio.sleep(0)
        if deployment in self.closed_off:
            return None
        permit = Permit(deployment)
        self.out[id(permit)] = permit
        return permit

    def ended(self, permit: Permit, error: AggregatorError | None, duration_s: float) -> None:
        del self.out[id(permit)]
        self.told.append((permit.deployment, error))

    def given_up(self, permit: Permit) -> None:
        del self.out[id(permit)]
        self.left.append(permit.deployment)

    def view(self) -> list[BreakerView]:
        raise NotImplementedError


class Catalogue:
    """Deployments, routes and models by name; a deployment's model is called as it is."""

    def __init__(self) -> None:
        self.routed: dict[str, Route] = {}
        self.deployed: dict[str, Deployment] = {}
        self.listed: dict[str, tuple[Model, Price | None]] = {}
        self.reachable: Collection[str] = ()
        self._editions: list[object] = []

    def edition(self, at: object) -> int:
        now = (dict(self.routed), dict(self.deployed), dict(self.listed), tuple(self.reachable))
        if not self._editions or self._editions[-1] != now:
            self._editions.append(now)
        return len(self._editions)

    def deployments(self) -> Mapping[str, Deployment]:
        return self.deployed

    def routes(self) -> Mapping[str, Route]:
        return self.routed

    def find(self, name: str, at: object, endpoint: Endpoint) -> tuple[Model, Price | None]:
        if name not in self.listed:
            raise ModelNotFound(name)
        return self.listed[name]

    described = find

    def add_model(self, name: str, provider: str, *, times: int | None = 1, context: int = 8_000) -> None:
        """`times` the usual price; None: without one."""
        rates = None if times is None else Rates(input=RATES.input * times, output=RATES.output * times)
        price = rates and Price(f"p-{name}", AT, AT, rates)
        self.listed[name] = (Model(name, provider, f"up-{name}", context, OUTPUT), price)


class Bounds:
    """The sizes of every request here."""

    def max_output_tokens(self, model: Model) -> int:
        return min(OUTPUT, model.max_output_tokens)

    def input_bound(self, model: Model) -> int:
        return INPUT_BOUND


class RouteHouse(House):
    """One worker. Each line is a deployment of the same name, first to last by priority; so is each of its models,
    `m-` before the name. `route` is asked for as `fast`."""

    def __init__(self, *lines: Line, times: Mapping[str, int | None] = {}, **fields: Any) -> None:
        super().__init__(Upstream())
        self.lines = {line.name: line for line in lines}
        self.now_s = 0.0
        self.waits: list[float] = []
        self.breakers = CountedBreakers()
        self.catalogue = Catalogue()
        self.catalogue.reachable = self.lines
        for place, line in enumerate(lines):
            self.catalogue.add_model(f"m-{line.name}", line.name, times=times.get(line.name, 1))
            self.catalogue.deployed[line.name] = Deployment(
                name=line.name, model=f"m-{line.name}", provider=line.name, upstream_model="u", priority=place
            )
        self.add_route("fast", *fields.pop("deployments", self.lines), **fields)
        self.views = DeploymentViews(self.clock_s)
        self.views.keep(frozenset(self.lines))
        self.limiter = BookLimiter()
        self.holds = Holds(self.limiter, self.clock_s)
        self.name_rules: dict[str, Sequence[Rule]] = {}
        self.limits = RouteLimits(
            self.holds,
            self.catalogue.deployments,
            lambda _, name: self.name_rules.get(name, ()),
            UNPRICED_NANOS,
            self.clock_s,
        )
        self.book = RouteBook(
            self.catalogue, self.catalogue, self.lines.__contains__, self.breakers, self.views, self.limits, lambda: 0.5
        )
        self.failover = Failover(
            self.breakers,
            RetryBudget.full(RetryPolicy(), 0.0),
            self.views,
            self.book,
            self.limits,
            self.clock_s,
            lambda: 0.5,
            self._sleep,
        )
        self.handler = AnswerRequestHandler(
            self.leases, self.requests, self.lines, self.clock, UNPRICED_NANOS, self.failover
        )

    def add_route(self, name: str, *deployments: str, **fields: Any) -> None:
        named: dict[str, Any] = {"strategy": "priority", **fields}
        self.catalogue.routed[name] = Route(name=name, deployments=deployments, **named)

    def clock_s(self) -> float:
        return self.now_s

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)

    def ask(self, **changes: Any) -> RouteAsk:
        usual = RouteAsk(endpoint="chat.completions", at=AT, sizes=Bounds(), input_estimate=20)
        return msgspec.structs.replace(usual, **changes)

    def plan(self, name: str = "fast", *, choices: int = 1, **ask: Any) -> RoutePlan:
        """With bounds."""
        asked = self.ask(**ask)
        resolved = self.book.resolve(name, asked.endpoint, asked.at)
        return self.book.plan(resolved, asked, resolved.bounds(asked.sizes, choices, UNPRICED_NANOS))

    async def admit(self, *, name: str = "fast", credit_nanos: int = CREDIT_NANOS, **changes: Any) -> Running:
        await give_credit(EventStore(self.log, "/tests"), credit_nanos)
        plan = self.plan(name, choices=changes.get("choices", 1), stream=changes.get("stream", False))
        first = plan.candidates[0]
        return await self.handler.admit(command(route=plan, model=first.model, price=first.price, **changes))

    async def answer(self, *, stream: bool, **changes: Any) -> tuple[Running, list[ReplyPiece], Exception | None]:
        """Whichever way it is asked: what came and what was raised."""
        running = await self.admit(stream=stream, **changes)
        pieces: list[ReplyPiece] = []
        try:
            if stream:
                async for each in self.handler.stream(running):
                    pieces.append(each)
            else:
                await self.handler.complete(running)
        except Exception as error:
            return running, pieces, error
        return running, pieces, None

    async def cancelled(self, running: Running) -> None:
        task = asyncio.create_task(self.handler.complete(running))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await self.settles()

    @property
    def attempts(self) -> list[RequestAttempted]:
        return [event for event in self.requests.events if isinstance(event, RequestAttempted)]

    def check_books(self) -> RequestEnd:
        """What holds whatever happened: one end, last; attempts numbered before it; nothing held or out any more."""
        end = self.requests.end
        assert self.requests.events[-1] is end
        assert [attempt.number for attempt in self.attempts] == list(range(1, len(self.attempts) + 1))
        assert len(self.attempts) <= end.attempts <= len(self.attempts) + 1
        assert (self.reserved, self.breakers.out, len(self.holds)) == (0, {}, 0)
        assert all(self.views.in_flight(name) == 0 for name in self.lines)
        return end
