"""Every fault behind every strategy: what is declared for it, what is asked, and what was left behind."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, product
from typing import Any, get_args

import aiohttp

from adapters.embedded.home import free_port
from adapters.log_reader import read_stream
from adapters.nats_connection import connect_nats
from domain.deployment import Route, Strategy
from domain.events import decode_batch, decode_envelope, decode_fact
from domain.ledger import UsageCharged
from domain.request import RequestAdmitted, RequestAttempted, RequestEnd
from domain.routing import CandidateView, RoutingInput, order
from tests.e2e.faults import HOLD_ON, FaultyUpstream
from tests.e2e.people import client_of
from tests.e2e.running import Program, until

STRATEGIES: Sequence[Strategy] = get_args(Strategy)
AT_ONCE = 16
CALM_FOR_EACH = 4
"""Good requests after each that draws on the retry budget: together they put in what it takes."""
ATTEMPT_TIMEOUT_S, USUAL_TIMEOUT_S = 2.0, 30.0
"""Of routes whose first choice is slow, and of the others."""
HEDGE_AFTER_S = 0.3
ANSWER_S = 60.0
CHEAP, DEAR = ("1.00", "2.00"), ("3.00", "5.00")
"""USD per million tokens, in and out, at the faulty ones and at the healthy one."""


@dataclass(frozen=True)
class Fault:
    """`kind` and `status` are what its attempt tells; no `kind`: it is no failure to be followed by another call."""

    name: str
    kind: str = ""
    status: int | None = None
    provider: str = "faulty"
    only_streamed: bool = False
    is_slow: bool = False


FAULTS = (
    Fault("429", "refused", 429),
    Fault("429 with Retry-After", "refused", 429),
    Fault("500", "refused", 500),
    Fault("529", "refused", 529),
    Fault("hangs", "timeout", is_slow=True),
    Fault("slow to begin", "timeout", is_slow=True),
    Fault("slow stream", only_streamed=True, is_slow=True),
    Fault("cut before its first byte", "broken"),
    Fault("cut after its first byte", only_streamed=True),
    Fault("malformed", "broken"),
    Fault("of another type", "broken"),
    Fault("no TLS", "unreachable", provider="plain-text"),
    Fault("refuses connections", "unreachable", provider="nobody"),
)


@dataclass(frozen=True)
class Case:
    fault: Fault
    strategy: Strategy
    stream: bool
    hedged: bool = False

    def __str__(self) -> str:
        how = "streamed" if self.stream else "whole"
        return f"{self.fault.name}, {'hedged' if self.hedged else self.strategy}, {how}"

    @property
    def route(self) -> str:
        return str(self).replace(" ", "_").replace(",", "")

    @property
    def healthy(self) -> str:
        """Of the two that look at load, one that is busy: what has nothing to do and is not known comes first."""
        return "busy" if self.strategy in ("least_latency", "least_busy") else "healthy"


HANGS = next(fault for fault in FAULTS if fault.name == "hangs")
CASES = tuple(
    Case(fault, strategy, stream)
    for fault, strategy, stream in product(FAULTS, STRATEGIES, (False, True))
    if stream or not fault.only_streamed
)
HEDGED = tuple(Case(HANGS, "priority", stream, hedged=True) for stream in (False, True))


def catalogue(upstream: FaultyUpstream) -> str:
    """One faulty deployment for each case, so that no breaker knows it."""
    providers = {
        "faulty": f"{upstream.base_url}/faulty/v1",
        "healthy": f"{upstream.base_url}/healthy/v1",
        "plain-text": f"{upstream.base_url.replace('http:', 'https:')}/faulty/v1",
        "nobody": f"http://127.0.0.1:{free_port()}/v1",
    }
    sections = [f'[[providers]]\nname = "{name}"\nbase_url = "{url}"' for name, url in providers.items()]
    sections += [_model("cheap", "faulty", CHEAP), _model("dear", "healthy", DEAR)]
    sections += [_deployment(name, "dear", "healthy", priority=1) for name in ("healthy", "busy")]
    sections += [_deployment("calm", "sim/free", "sim"), _route("calm", ["calm"]), _route("busy", ["busy"])]
    for case in (*CASES, *HEDGED):
        name = f"at-{case.route}"
        weight = 1_000_000 if case.strategy == "weighted" else 1
        sections += [
            _deployment(name, "cheap", case.fault.provider, weight=weight),
            _route(case.route, [name, case.healthy], case),
        ]
    return "\n\n".join(sections)


def _model(name: str, provider: str, price: tuple[str, str]) -> str:
    return f"""[[models]]
model = "{name}"
provider = "{provider}"
upstream_model = "{name}"
owned_by = "{provider}"
context_length = 8000
max_output_tokens = 100
valid_from = "2020-01-01"
usd_per_million = {{ input = "{price[0]}", output = "{price[1]}" }}"""


def _deployment(name: str, model: str, provider: str, *, weight: int = 1, priority: int = 0) -> str:
    return f"""[[deployments]]
name = "{name}"
model = "{model}"
provider = "{provider}"
upstream_model = "{model}"
weight = {weight}
priority = {priority}"""


def _route(name: str, deployments: Sequence[str], case: Case | None = None) -> str:
    lines = [f'[[routes]]\nname = "{name}"', f"deployments = [{', '.join(f'{each!r}' for each in deployments)}]"]
    if case is not None:
        is_slow = case.fault.is_slow and not case.hedged
        lines += [
            f'strategy = "{case.strategy}"',
            f"attempt_timeout_s = {ATTEMPT_TIMEOUT_S if is_slow else USUAL_TIMEOUT_S}",
        ]
        lines += ['sticky_by = "user"'] if case.strategy == "sticky" else []
        lines += [f"hedge_after_s = {HEDGE_AFTER_S}"] if case.hedged else []
    return "\n".join(lines)


@dataclass(frozen=True)
class Seen:
    """By the client."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]


@dataclass(frozen=True)
class Life:
    """What the log holds of one request, in its order."""

    facts: Sequence[Any]

    @property
    def attempts(self) -> list[RequestAttempted]:
        return [fact for fact in self.facts if isinstance(fact, RequestAttempted)]

    @property
    def end(self) -> RequestEnd:
        """The only one."""
        (end,) = (fact for fact in self.facts if isinstance(fact, RequestEnd))
        return end


@dataclass(frozen=True)
class Outcome:
    """`costs_nanos` is of all requests by their ends, `charged_nanos` what the ledger charged for them."""

    seen: dict[Case, Seen]
    lives: dict[str, Life]
    costs_nanos: int
    charged_nanos: int


def run_all(program: Program, upstream: FaultyUpstream) -> Outcome:
    """At once, while one call keeps the busy deployment busy."""
    until(lambda: "busy" in _looked_at(program))
    seen = asyncio.run(_ask_all(program, upstream))
    charges: list[int] = []

    def is_settled() -> bool:
        lives, charged = asyncio.run(_read(program))
        charges[:] = [sum(life.end.cost_nanos for life in lives.values() if _has_ended(life)), charged]
        return charges[0] == charges[1] and all(map(_has_ended, lives.values()))

    until(is_settled)
    lives, _ = asyncio.run(_read(program))
    return Outcome(seen, lives, *charges)


def _looked_at(program: Program) -> set[str]:
    """Deployments whose load and speed count by now."""
    credentials = {"email": program.ready["admin_email"], "password": program.ready["admin_password"]}
    with client_of(program.base_url) as client:
        token = client.post("/api/v1/auth/login", json=credentials).json()["access_token"]
    with client_of(program.base_url, token) as client:
        return {each["deployment"] for each in client.get("/api/v1/admin/providers").json()["data"]}


def _has_ended(life: Life) -> bool:
    return any(isinstance(fact, RequestEnd) for fact in life.facts)


async def _ask_all(program: Program, upstream: FaultyUpstream) -> dict[Case, Seen]:
    headers = {"authorization": f"Bearer {program.api_key}"}
    timeout, places = aiohttp.ClientTimeout(total=ANSWER_S), asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession(program.base_url, headers=headers, timeout=timeout, trust_env=False) as session:
        assert (await _ask(session, "busy", "Hello")).status == 200
        held = asyncio.create_task(_ask(session, "busy", HOLD_ON))
        await asyncio.to_thread(upstream.holding.wait, ANSWER_S)

        async def ask(case: Case) -> Seen:
            async with places:
                user = {"user": sticky_user(case)} if case.strategy == "sticky" else {}
                seen = await _ask(session, case.route, case.fault.name, stream=case.stream, **user)
                if case.fault.kind or case.hedged:
                    for _ in range(CALM_FOR_EACH):
                        await _ask(session, "calm", "Hello")
                return seen

        cases = (*CASES, *HEDGED)
        answers = await asyncio.gather(*map(ask, cases))
        upstream.released.set()
        assert (await held).status == 200
    return dict(zip(cases, answers, strict=True))


async def _ask(session: aiohttp.ClientSession, model: str, content: str, **members: Any) -> Seen:
    asked = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 20, **members}
    async with session.post("/v1/chat/completions", json=asked) as answer:
        return Seen(answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.text())


def sticky_user(case: Case) -> str:
    """One whose own order of the two begins with the faulty one."""
    faulty = f"at-{case.route}"
    route = Route(name=case.route, deployments=(faulty, case.healthy), strategy="sticky", sticky_by="user")
    views = [CandidateView(name=name) for name in route.deployments]
    return next(user for user in _users() if _first(route, views, f'"{user}"') == faulty)


def _users() -> Iterator[str]:
    return (f"user{number}" for number in count())


def _first(route: Route, views: Sequence[CandidateView], sticky_key: str) -> str | None:
    return order(route, views, RoutingInput(sticky_key=sticky_key), lambda: 0.5).chosen


async def _read(program: Program) -> tuple[dict[str, Life], int]:
    """Every request by its id, and what was charged in all."""
    connection = await connect_nats(program.services["nats_url"], "auditor")
    told: dict[str, list[Any]] = {}
    charged = 0
    try:
        async for message in read_stream(connection, "REQ"):
            for envelope in decode_batch(message.raw):
                fact = decode_fact(envelope)
                assert isinstance(fact, RequestAdmitted | RequestAttempted | RequestEnd)
                told.setdefault(fact.request_id, []).append(fact)
        async for message in read_stream(connection, "EVT"):
            if ".ledger." in message.subject:
                fact = decode_fact(decode_envelope(message.raw))
                charged += fact.amount_nanos if isinstance(fact, UsageCharged) else 0
    finally:
        await connection.close()
    return {ident: Life(facts) for ident, facts in told.items()}, charged
