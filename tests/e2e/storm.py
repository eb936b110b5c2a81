"""Load on the running program while its parts are killed, and what was left behind: the evidence of kill tests."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, get_args

import aiohttp
import asyncpg
import msgspec

from adapters.log_reader import read_stream
from adapters.nats_connection import connect_nats
from domain.events import Envelope, decode_batch, decode_envelope, decode_fact
from domain.ids import AccountId, RequestId
from domain.ledger import Ledger
from domain.money import nanos_from_usd
from domain.request import RequestAdmitted, RequestEnded
from tests.e2e.running import ALL_PARTS, PATIENCE_S, Program

CLIENTS = 64
ANSWER_S = 30.0
BREATH_S = 1.0
"""Load between two kills."""
POLL_S = 0.2
FAILURES = (aiohttp.ClientError, OSError, TimeoutError)
DONE = b"data: [DONE]"
COST = b": x-agg-cost-usd: "
HANGS_UP_EVERY = 16


@dataclass(frozen=True)
class Answer:
    """What a client saw. `whole`: status 200 and, for a stream, its end mark. No status: no answer."""

    status: int | None = None
    request_id: str = ""
    cost_nanos: int | None = None
    whole: bool = False
    hung_up: bool = False


@dataclass(frozen=True)
class Ended:
    position: int
    fact: RequestEnded


@dataclass
class RequestFold:
    """The request log, told by this test alone: what a writer repeated counts once, and of the ends the first.

    `never_begun` are ends of requests whose admission was given up before it reached the log.
    """

    position: int = 0
    admissions: dict[RequestId, list[RequestAdmitted]] = field(default_factory=dict)
    ends: dict[RequestId, Ended] = field(default_factory=dict)
    never_begun: list[RequestEnded] = field(default_factory=list)
    void_ends: int = 0
    repeated: int = 0
    _seen: set[str] = field(default_factory=set)

    def apply(self, position: int, batch: list[Envelope]) -> None:
        self.position = position
        for envelope in batch:
            if envelope.id in self._seen:
                self.repeated += 1
                continue
            self._seen.add(envelope.id)
            self._fold(position, decode_fact(envelope))

    def _fold(self, position: int, fact: Any) -> None:
        if isinstance(fact, RequestAdmitted):
            self.admissions.setdefault(fact.request_id, []).append(fact)
            return
        assert isinstance(fact, get_args(RequestEnded)), fact
        if fact.request_id not in self.admissions:
            self.never_begun.append(fact)
        elif fact.request_id in self.ends:
            self.void_ends += 1
        else:
            self.ends[fact.request_id] = Ended(position, fact)

    @property
    def open(self) -> set[RequestId]:
        return self.admissions.keys() - self.ends.keys()


@dataclass
class Evidence:
    """`facts` are raw messages of `EVT` with their subjects. `doomed` were running when the API was killed."""

    account_id: AccountId
    requests: RequestFold
    facts: list[tuple[int, str, bytes]]
    served: list[RequestId]
    answers: list[Answer]
    sent: int
    doomed: set[RequestId]
    doomed_answers: list[Answer]
    balance: dict[str, Any]
    usage: dict[str, Any]
    rows: dict[str, tuple[str, int]]
    kills: list[str]

    def ledger(self) -> list[tuple[int, Envelope, bytes]]:
        found = [
            (position, decode_envelope(raw), raw) for position, subject, raw in self.facts if ".ledger." in subject
        ]
        return [entry for entry in found if entry[1].accountid == self.account_id]

    def counts(self) -> dict[str, int]:
        statuses = Counter(answer.status for answer in self.answers)
        kinds = Counter(type(end.fact).__name__ for end in self.requests.ends.values())
        return {
            "sent": self.sent,
            "answered whole": sum(answer.whole for answer in self.answers),
            "hung up": sum(answer.hung_up for answer in self.answers),
            "200 but cut": sum(a.status == 200 and not (a.whole or a.hung_up) for a in self.answers),
            "refused with 5xx": sum(count for status, count in statuses.items() if status and status >= 500),
            "no answer": statuses[None],
            "admitted": len(self.requests.admissions),
            "served": len(self.served),
            "completed": kinds["RequestCompleted"],
            "failed": kinds["RequestFailed"],
            "abandoned": kinds["RequestAbandoned"],
            "abandoned unserved": len(
                {ident for ident, end in self.requests.ends.items() if type(end.fact).__name__ == "RequestAbandoned"}
                - set(self.served)
            ),
            "void ends": self.requests.void_ends,
            "never begun": len(self.requests.never_begun),
            "events repeated": self.requests.repeated,
            "log messages": self.requests.position,
            "charges": sum(envelope.type == "ledger.usage_charged.v1" for _, envelope, _ in self.ledger()),
            "kills": len(self.kills),
        }


class Storm:
    """64 clients that go on whatever happens; parts are killed one after the other beneath them."""

    def __init__(self, program: Program, session: aiohttp.ClientSession) -> None:
        self._program = program
        self._session = session
        self._url = f"{program.base_url}/v1/chat/completions"
        self._calm = asyncio.Event()
        self._whole = 0
        self.sent = 0
        self.answers: list[Answer] = []
        self.doomed: set[RequestId] = set()
        self.doomed_answers: list[Answer] = []
        self.kills: list[str] = []

    async def rage(self, doomed_key: str) -> None:
        clients = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]
        await self._until_served()
        await self._kill_running(doomed_key)
        for part in ("nats", "postgres", "valkey", "worker"):
            await self._kill(part)
        await self._kill_before_upstream()
        await self._kill("nats")
        await self._kill(*sorted(ALL_PARTS - {"up"}))
        self._calm.set()
        await asyncio.gather(*clients)

    async def _client(self, number: int) -> None:
        asked = 0
        while not self._calm.is_set():
            asked += 1
            question = {
                "model": "sim/echo",
                "messages": [{"role": "user", "content": f"client {number} asks for the {asked}th time"}],
                "stream": asked % 2 == 0,
                "sim": {"latency_ms": 60, "chunks": 4, "chunk_ms": 20, "words": 1 + (number * 7 + asked) % 40},
            }
            hangs_up = asked % 2 == 0 and (number + asked) % HANGS_UP_EVERY == 0
            self.sent += 1
            answer = await self.ask(self._program.api_key, question, hangs_up=hangs_up)
            self.answers.append(answer)
            self._whole += answer.whole
            if not answer.whole:
                await asyncio.sleep(POLL_S)

    async def ask(self, key: str, question: dict[str, Any], *, hangs_up: bool = False) -> Answer:
        headers = {"authorization": f"Bearer {key}"}
        status, request_id, body = None, "", b""
        try:
            async with self._session.post(self._url, json=question, headers=headers) as response:
                status, request_id = response.status, response.headers.get("x-request-id", "")
                async for piece in response.content.iter_any():
                    body += piece
                    if hangs_up:
                        return Answer(status, request_id, hung_up=True)
                if status != 200:
                    return Answer(status, request_id)
                if not question["stream"]:
                    return Answer(status, request_id, nanos_from_usd(response.headers["x-agg-cost-usd"]), whole=True)
                return Answer(status, request_id, _cost_in(body), whole=DONE in body)
        except FAILURES:
            return Answer(status, request_id)

    async def _kill_running(self, key: str) -> None:
        """The API, with requests whose answer has not begun and streams that are half out."""
        shapes = [{"latency_ms": 120_000}, {"chunks": 1_000, "chunk_ms": 100, "words": 1_000}]
        questions = [
            {
                "model": "sim/echo",
                "messages": [{"role": "user", "content": f"the {number}th that will not be answered"}],
                "stream": number >= 8,
                "sim": shapes[number >= 8],
            }
            for number in range(16)
        ]
        asking = [asyncio.create_task(self.ask(key, question)) for question in questions]
        self.sent += len(asking)
        open_by_key = {"status": "open", "limit": "200"}

        async def all_served() -> bool:
            found = await self.read("/requests", open_by_key)
            self.doomed = {row["id"] for row in found["data"] if row["key_id"] == key_id}
            return len(self.doomed) == len(asking) and self.doomed <= set(self.served())

        key_id = (await self._key_of(key))["id"]
        await eventually(all_served)
        await self._kill("api")
        self.doomed_answers = list(await asyncio.gather(*asking))
        self.answers += self.doomed_answers

    async def _key_of(self, key: str) -> dict[str, Any]:
        keys = (await self.read("/keys", {}))["data"]
        return next(row for row in keys if row["last4"] == key[-4:])

    async def _kill_before_upstream(self) -> None:
        """The API, while admissions are on their way to a log that does not answer."""
        nats, api = self._program.pids["nats"], self._program.pids["api"]
        os.kill(nats, signal.SIGSTOP)
        try:
            await asyncio.sleep(BREATH_S / 2)
            os.kill(api, signal.SIGKILL)
            self.kills.append("api, its log frozen")
        finally:
            os.kill(nats, signal.SIGCONT)
        await self._until_back({"api": api})

    async def _kill(self, *parts: str) -> None:
        pids = {part: self._program.pids[part] for part in parts}
        for part in parts:
            self._program.kill(part)
        self.kills.append("+".join(parts))
        await self._until_back(pids)

    async def _until_back(self, killed: dict[str, int]) -> None:
        for part, pid in killed.items():
            await asyncio.to_thread(self._program.until_back, part, pid)
        await self._until_served()
        await asyncio.sleep(BREATH_S)

    async def _until_served(self) -> None:
        """As many whole answers from now on as there are clients."""
        enough = self._whole + CLIENTS

        async def served() -> bool:
            return self._whole >= enough

        await eventually(served)

    def served(self) -> list[RequestId]:
        lines = self._program.served_log.read_bytes().splitlines()
        return [msgspec.json.decode(line)["request_id"] for line in lines]

    async def read(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self._program.api_key}"}
        url = f"{self._program.base_url}/api/v1{path}"
        async with self._session.get(url, params=query, headers=headers) as response:
            assert response.status == 200, await response.text()
            return await response.json()


def _cost_in(body: bytes) -> int | None:
    line = next((line for line in body.splitlines() if line.startswith(COST)), None)
    return None if line is None else nanos_from_usd(line.removeprefix(COST).decode())


async def eventually(true: Callable[[], Awaitable[bool]]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not await true():
        assert time.monotonic() < give_up, "waited in vain"
        await asyncio.sleep(POLL_S)


class Auditor:
    """Reads the real log with the credentials that the program keeps."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.requests = RequestFold()
        self.facts: list[tuple[int, str, bytes]] = []

    async def read(self) -> None:
        """What is new."""
        async for message in read_stream(self._connection, "REQ", start=self.requests.position + 1):
            self.requests.apply(message.sequence, decode_batch(message.raw))
        after = self.facts[-1][0] if self.facts else 0
        async for message in read_stream(self._connection, "EVT", start=after + 1):
            self.facts.append((message.sequence, message.subject, message.raw))

    def ledger(self, account_id: AccountId) -> Ledger:
        """As its last event says."""
        raw = next(raw for _, subject, raw in reversed(self.facts) if subject.endswith(f".ledger.{account_id}"))
        return msgspec.json.decode(decode_envelope(raw).data, type=_Carrier).after


class _Carrier(msgspec.Struct):
    after: Ledger


@asynccontextmanager
async def auditing(program: Program) -> AsyncGenerator[Auditor]:
    connection = await connect_nats(program.services["nats_url"], "auditor")
    try:
        yield Auditor(connection)
    finally:
        await connection.close()


async def gather_evidence(program: Program) -> Evidence:
    """Rage, wait until all is quiet, and read what there is to be read."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    async with (
        aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0), trust_env=False) as session,
        auditing(program) as auditor,
    ):
        storm = Storm(program, session)
        account_id = AccountId((await storm.read("/billing/balance", {}))["account_id"])
        await storm.rage(await _second_key(program, session))

        async def quiet() -> bool:
            await auditor.read()
            return not auditor.requests.open and not auditor.ledger(account_id).leases

        await eventually(quiet)
        last = auditor.facts[-1][0]
        everything = {"min_position": f"EVT:{last},REQ:{auditor.requests.position}"}
        return Evidence(
            account_id=account_id,
            requests=auditor.requests,
            facts=auditor.facts,
            served=storm.served(),
            answers=storm.answers,
            sent=storm.sent,
            doomed=storm.doomed,
            doomed_answers=storm.doomed_answers,
            balance=await storm.read("/billing/balance", everything),
            usage=(await storm.read("/users/usage", everything))["totals"],
            rows=await _request_rows(program),
            kills=storm.kills,
        )


async def _second_key(program: Program, session: aiohttp.ClientSession) -> str:
    credentials = {"email": program.ready["admin_email"], "password": program.ready["admin_password"]}
    async with session.post(f"{program.base_url}/api/v1/auth/login", json=credentials) as response:
        token = (await response.json())["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    async with session.post(f"{program.base_url}/api/v1/keys", json={"name": "doomed"}, headers=headers) as response:
        return (await response.json())["key"]


async def _request_rows(program: Program) -> dict[str, tuple[str, int]]:
    """Status and cost of each request in the `requests` read model."""
    place = program.services["database"]
    connection = await asyncpg.connect(
        host=place["host"],
        port=place["port"],
        user=place["user"],
        password=place["password"],
        database=place["dbname"],
    )
    try:
        rows = await connection.fetch("SELECT request_id, status, cost_nanos FROM requests")
    finally:
        await connection.close()
    return {row["request_id"]: (row["status"], row["cost_nanos"]) for row in rows}
