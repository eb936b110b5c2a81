"""A POST with an `Idempotency-Key`: done once, and answered again with the same bytes."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from adapters.in_memory_idempotency import InMemoryIdempotencyStore
from api.ai_errors import AnthropicErrors, OpenAIErrors, ProblemErrors, WholeErrors
from api.idempotent_posts import IdempotentPosts
from domain.errors import NotAuthenticated, Unavailable
from domain.idempotency import Claim
from domain.ids import RequestId

App = Callable[[Any, Any, Any], Awaitable[None]]
HEADERS = [(b"content-type", b"text/plain"), (b"date", b"x")]


class Clock:
    now = datetime(2026, 11, 23, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Ends:
    ended_at_value: datetime | None = None

    async def ended_at(self, claim: Claim) -> datetime | None:
        return self.ended_at_value


class House:
    """The middleware over a store in memory, for a caller who is known by what they send."""

    def __init__(self) -> None:
        self.clock, self.ends = Clock(), Ends()
        self.store = InMemoryIdempotencyStore(self.ends, self.clock, lost_after_s=60)
        ids = iter(range(1_000))
        self.posts = IdempotentPosts(
            self.store, cast(Any, SimpleNamespace(admit=self._admit)), lambda: RequestId(f"req_{next(ids)}")
        )
        self.errors: WholeErrors = OpenAIErrors()

    async def _admit(self, headers: dict[bytes, bytes]) -> Any:
        if headers[b"authorization"] == b"Bearer bad":
            raise NotAuthenticated("No.")
        return SimpleNamespace(account_id=headers[b"authorization"].decode())

    async def ask(self, app: App, *, key: str = "k", body: bytes = b"{}", who: str = "a", **other: Any) -> "Heard":
        heard = Heard(other.get("send_fails", False))
        headers = [(b"idempotency-key", key.encode()), (b"authorization", f"Bearer {who}".encode())]
        scope = {"path": other.get("path", "/v1/x"), "query_string": b"", "headers": headers, "client": ("::1", 1)}

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        await self.posts(app, self.errors, scope, receive, heard)
        return heard


class Heard:
    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""

    async def __call__(self, message: Any) -> None:
        if self.fails:
            raise ConnectionResetError
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.body += message["body"]

    @property
    def code(self) -> str:
        return msgspec.json.decode(self.body)["error"]["code"]


class Work:
    """A route. `scopes` are what it was called with."""

    def __init__(self, *pieces: bytes, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.pieces, self.status, self.headers = pieces or (b"done",), status, headers
        self.scopes: list[Any] = []
        self.waits: asyncio.Event | None = None
        self.began = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        self.body = (await receive())["body"]
        self.began.set()
        if self.waits:
            await self.waits.wait()
        await send({"type": "http.response.start", "status": self.status, "headers": [*HEADERS, *self.headers]})
        for number, piece in enumerate(self.pieces, 1):
            await send({"type": "http.response.body", "body": piece, "more_body": number < len(self.pieces)})


@pytest.mark.parametrize("pieces", [(b"whole",), (b"data: a\n\n", b"", b"data: \xff\n\n")])
async def test_the_work_is_done_once_and_answered_again_with_the_same_bytes(pieces: tuple[bytes, ...]) -> None:
    house, work = House(), Work(*pieces)

    first = await house.ask(work)
    again = await house.ask(work)

    assert len(work.scopes) == 1
    assert (first.status, first.body) == (again.status, again.body) == (200, b"".join(pieces))
    assert b"idempotency-replayed" not in first.headers
    assert (again.headers[b"idempotency-replayed"], again.headers[b"content-type"]) == (b"true", b"text/plain")
    assert b"date" not in again.headers


async def test_the_route_gets_the_id_that_the_claim_has() -> None:
    house, work = House(), Work()

    await house.ask(work, body=b'{"a":1}')

    assert (work.scopes[0]["agg.request_id"], work.body) == ("req_0", b'{"a":1}')


async def test_while_it_runs_the_key_is_taken_and_of_many_at_once_one_works() -> None:
    house, work = House(), Work()
    work.waits = asyncio.Event()
    first = asyncio.create_task(house.ask(work))
    await work.began.wait()

    others = await asyncio.gather(*[house.ask(work) for _ in range(20)])
    work.waits.set()
    await first

    assert {(other.status, other.code) for other in others} == {(409, "idempotency_key_running")}
    assert {other.headers[b"retry-after"] for other in others} == {b"1"}
    assert len(work.scopes) == 1


async def test_another_body_under_the_same_key_is_refused_by_422() -> None:
    house, work = House(), Work()
    await house.ask(work, body=b'{"a":1}')

    other = await house.ask(work, body=b'{"a":2}')

    assert (other.status, other.code, len(work.scopes)) == (422, "idempotency_key_mismatch", 1)


async def test_a_key_belongs_to_one_account_and_one_route() -> None:
    house, work = House(), Work()
    await house.ask(work)

    await house.ask(work, who="b")
    await house.ask(work, path="/v1/y")

    assert len(work.scopes) == 3


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (400, ()),
        (402, ((b"x-should-retry", b"false"),)),
        (429, ()),
        (503, ()),
        (502, ((b"x-agg-cost-usd", b"0.00"), (b"x-agg-position", b"REQ:1"))),
    ],
)
async def test_what_was_refused_or_failed_at_no_cost_leaves_the_key_free(
    status: int, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    house = House()

    await house.ask(Work(status=status, headers=headers))
    again = await house.ask(Work())

    assert (again.status, b"idempotency-replayed" in again.headers) == (200, False)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (502, ((b"x-agg-cost-usd", b"0.01"), (b"x-agg-position", b"REQ:1"))),
        (400, ((b"x-agg-cost-usd", b"0.01"), (b"x-agg-position", b"REQ:1"))),
        (503, ((b"x-should-retry", b"false"),)),
    ],
)
async def test_a_failure_that_cost_or_may_have_done_something_is_answered_again(
    status: int, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    house = House()

    await house.ask(Work(b"failed", status=status, headers=headers))
    again = await house.ask(Work())

    assert (again.status, again.body, again.headers[b"idempotency-replayed"]) == (status, b"failed", b"true")


async def test_a_client_that_hangs_up_finds_the_whole_answer_when_it_comes_back() -> None:
    house, work = House(), Work(b"a", b"b", b"c")

    await house.ask(work, send_fails=True)
    again = await house.ask(work)

    assert (again.body, len(work.scopes)) == (b"abc", 1)


async def test_an_answer_that_was_lost_is_said_to_be() -> None:
    house = House()

    async def dies(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    await house.ask(dies)
    house.ends.ended_at_value = house.clock.now
    house.clock.now += timedelta(seconds=61)
    again = await house.ask(Work())

    assert (again.status, again.code) == (409, "idempotent_answer_lost")
    assert again.headers[b"x-should-retry"] == b"false"


async def test_who_is_not_known_or_says_nonsense_is_refused_in_the_words_of_the_route() -> None:
    house, work = House(), Work()

    stranger = await house.ask(work, who="bad")
    nonsense = await house.ask(work, key="with space")
    house.errors = AnthropicErrors()
    anthropic = await house.ask(work, key="")
    house.errors = ProblemErrors()
    problem = await house.ask(work, key="ä")

    assert (stranger.status, nonsense.status, nonsense.code) == (401, 400, "invalid_idempotency_key")
    assert msgspec.json.decode(anthropic.body)["error"]["type"] == "invalid_request_error"
    assert (problem.status, msgspec.json.decode(problem.body)["code"]) == (422, "invalid_idempotency_key")
    assert work.scopes == []


async def test_without_the_store_nothing_is_done() -> None:
    house, work = House(), Work()

    async def away(*_: Any) -> Any:
        raise Unavailable("The log does not answer.")

    house.store.begin = away  # type: ignore[method-assign]

    assert ((await house.ask(work)).status, work.scopes) == (503, [])


async def test_an_answer_that_cannot_be_kept_still_goes_out_and_the_key_leads_to_no_second_one() -> None:
    house, work = House(), Work()

    async def away(*_: Any) -> Any:
        raise Unavailable("The log does not answer.")

    house.store.complete = away  # type: ignore[method-assign]

    assert (await house.ask(work)).body == b"done"
    assert (await house.ask(work)).status == 409
    assert len(work.scopes) == 1
