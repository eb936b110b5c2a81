"""An earlier answer to the same question, or to nearly the same one, in place of a new one."""

import asyncio
from datetime import UTC, datetime
from itertools import count
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dialects.dialect import ClientRequest
from adapters.single_flight import FlightBounds, SingleFlight
from api.answer_cache import AnswerCache, CacheTurn, Came
from api.auth import Caller
from api.similar_answers import SimilarAnswers
from domain.catalog import Model
from domain.ids import AccountId, RequestId, UserId
from domain.response_cache import CachePolicy
from domain.semantic_cache import SemanticPolicy
from domain.upstream import Reply, ReplyPiece
from tests.caching import (
    InMemoryResponseCache,
    InMemorySemanticIndex,
    LetterEmbedder,
    members_of,
    until,
)

FRANCE, FRANCE_AGAIN, NOTHING_LIKE_IT = "What is the capital of France?", "what is the capital of france", "Zzz"
EXACT = CachePolicy(ttl_s=60)
SIMILAR = CachePolicy(ttl_s=60, semantic=SemanticPolicy(embedding_model="embed", threshold=0.95))
PATIENT_S = 20.0
NEW = {b"cache-control": b"no-cache"}


class Asking(msgspec.Struct, frozen=True):
    """Who asks, and what."""

    caller: Caller
    request: ClientRequest


def question(text: str = FRANCE, account: str = "acc_1", **changes: Any) -> Asking:
    members = members_of(messages=[{"role": "user", "content": text}], **changes.pop("members", {}))
    return asking(account, members=members, **changes)


def asking(account: str = "acc_1", **changes: Any) -> Asking:
    asked: dict[str, Any] = {"endpoint": "chat.completions", "model": "fast", "body_bytes": 9, "text_bytes": 9}
    caller = Caller(AccountId(account), UserId("usr_1"), None, None, "member")
    return Asking(caller, ClientRequest(**(asked | changes)))


def answered_by(model: str = "echo", cost_nanos: int = 7) -> Any:
    """What runs, once it has ended."""
    candidate = SimpleNamespace(provider="sim", model=Model(model, "sim", "echo", 8_000, 500))
    return SimpleNamespace(candidate=candidate, end=SimpleNamespace(cost_nanos=cost_nanos))


class Desk:
    """Asks through a cache, as the AI route does; an answer says which number it has."""

    def __init__(self, policy: CachePolicy = SIMILAR) -> None:
        self.policy = policy
        self.cache, self.index, self.embedder = InMemoryResponseCache(), InMemorySemanticIndex(), LetterEmbedder()
        self.numbers = count(1)
        self.now = datetime.now(UTC)
        self.answers = self.worker()

    def worker(self) -> AnswerCache:
        """Another process over the same stores."""
        flights = SingleFlight(self.cache, FlightBounds(first_poll_s=0))
        similar = SimilarAnswers(self.cache, self.index, self.embedder, lambda: self.now)
        return AnswerCache(self.cache, flights, similar, lambda _: self.policy)

    async def ask(
        self, asking: Asking, headers: dict[bytes, bytes] | None = None, through: AnswerCache | None = None
    ) -> tuple[str, bytes, dict[bytes, bytes]]:
        """What the cache says, the answer, and what the client is told."""
        turn = self.turn(asking, headers, through)
        try:
            if not await turn.is_clear():
                await turn.wait()
            told = dict(turn.headers)
            return told[b"x-agg-cache"].decode(), await self._answer(turn, asking), told
        finally:
            turn.end()

    def turn(
        self, asking: Asking, headers: dict[bytes, bytes] | None = None, through: AnswerCache | None = None
    ) -> CacheTurn:
        body = msgspec.json.encode([asking.request.stream, asking.request.drop_params, asking.request.members])
        came = Came(RequestId(f"{id(self)}-{next(self.numbers)}"), headers or {}, body)
        return (through or self.answers).turn(asking.caller, asking.request, came)

    async def status(self, asking: Asking, headers: dict[bytes, bytes] | None = None) -> str:
        return (await self.ask(asking, headers))[0]

    async def _answer(self, turn: CacheTurn, asking: Asking) -> bytes:
        if turn.answer is not None:
            return turn.answer.body
        await asyncio.sleep(0)
        body = b"answer %d" % next(self.numbers)
        if asking.request.stream:
            turn.pass_by(ReplyPiece(body, closing=b"[DONE]", finish_reason="stop"))
            turn.keep(None, answered_by())
        else:
            turn.keep(Reply(body, "echo", "stop", None, 8), answered_by())
        await asyncio.sleep(0)
        return body


@pytest.mark.parametrize("stream", [False, True])
async def test_a_near_question_gets_the_answer_of_the_other_and_is_told_how_near_it_is(stream: bool) -> None:
    desk = Desk()
    _, first, _ = await desk.ask(question(stream=stream))
    status, second, told = await desk.ask(question(FRANCE_AGAIN, stream=stream))

    assert (status, second) == ("hit", first)
    assert 0.95 <= float(told[b"x-agg-cache-similarity"]) <= 1


async def test_a_hit_knows_whether_it_is_of_a_near_question_and_who_made_it_at_what_cost() -> None:
    desk = Desk()
    await desk.ask(question())
    answers: list[Any] = []
    for text in (FRANCE_AGAIN, FRANCE):
        turn = desk.turn(question(text))
        if not await turn.is_clear():
            await turn.wait()
        answers.append(turn.answer)
        turn.end()
    near, same = answers

    assert near.similarity >= 0.95
    assert same.similarity is None
    assert {(each.provider, each.catalogue_model, each.cost_nanos) for each in answers} == {("sim", "echo", 7)}


async def test_a_far_question_is_answered_anew_and_remembered() -> None:
    desk = Desk()
    statuses = [await desk.status(question(text)) for text in (FRANCE, NOTHING_LIKE_IT, "zzz?")]

    assert statuses == ["miss", "miss", "hit"]


async def test_whoever_asks_a_near_question_again_needs_no_other_embedding_and_is_told_the_same() -> None:
    desk = Desk()
    await desk.ask(question())
    once = await desk.ask(question(FRANCE_AGAIN))
    again = await desk.ask(question(FRANCE_AGAIN))

    assert again == once
    assert desk.embedder.asked == [FRANCE, FRANCE_AGAIN]


@pytest.mark.parametrize(
    "other",
    [
        question(FRANCE_AGAIN, account="acc_2"),
        question(FRANCE_AGAIN, stream=True),
        question(FRANCE_AGAIN, endpoint="messages"),
        question(FRANCE_AGAIN, members={"temperature": 1}),
    ],
)
async def test_another_account_shape_or_option_is_another_question(other: Asking) -> None:
    desk = Desk()
    await desk.ask(question())

    assert await desk.status(other) == "miss"


async def test_vectors_of_another_model_are_not_compared() -> None:
    desk = Desk()
    await desk.ask(question())
    desk.embedder.model = "embed-2"

    assert await desk.status(question(FRANCE_AGAIN)) == "miss"


@pytest.mark.parametrize(
    ("directive", "statuses"),
    [(b"no-cache", ["miss", "miss"]), (b"no-store", ["bypass", "bypass"]), (b"max-age=0", ["miss", "miss"])],
)
async def test_who_may_not_read_compares_nothing_and_embeds_nothing(directive: bytes, statuses: list[str]) -> None:
    desk = Desk()
    headers = {b"cache-control": directive}
    seen = [await desk.status(question(text), headers) for text in (FRANCE, FRANCE_AGAIN)]

    assert (seen, desk.embedder.asked, desk.index.questions) == (statuses, [], {})


async def test_a_fresh_answer_takes_the_place_of_the_old_one_for_near_questions_too() -> None:
    desk = Desk()
    await desk.ask(question())
    _, fresh, _ = await desk.ask(question(), NEW)

    assert (await desk.ask(question(FRANCE_AGAIN)))[:2] == ("hit", fresh)


async def test_an_answer_that_is_gone_is_a_miss_though_its_question_is_known() -> None:
    desk = Desk()
    await desk.ask(question())
    await desk.cache.purge("acc_1")

    assert await desk.status(question(FRANCE_AGAIN)) == "miss"
    assert await desk.status(question(FRANCE_AGAIN)) == "hit"


async def test_a_purge_takes_answers_and_questions() -> None:
    desk = Desk()
    for account in ("acc_1", "acc_2"):
        await desk.ask(question(account=account))
    await desk.answers.purge("acc_1")

    assert {place.scope for place in desk.index.questions} == {"acc_2"}
    assert {key.scope for key in desk.cache.answers} == {"acc_2"}


async def test_an_answer_given_to_a_near_question_ends_with_the_time_of_the_first() -> None:
    desk = Desk()
    await desk.ask(question())
    desk.now = datetime.now(UTC).replace(microsecond=0)
    (answer,) = desk.cache.answers.values()
    desk.cache.kept_for.clear()
    for age_s, text in ((20, FRANCE_AGAIN), (60, f"{FRANCE}!")):
        desk.now = datetime.fromtimestamp(answer.stored_at.timestamp() + age_s, UTC)
        assert await desk.status(question(text)) == "hit"

    assert desk.cache.kept_for == [40]


@pytest.mark.parametrize(
    ("asked", "policy"),
    [
        (question(), EXACT),
        (question("   "), SIMILAR),
        (question(members={"tools": []}), SIMILAR),
        (asking(endpoint="responses", members=members_of(input=FRANCE)), SIMILAR),
        (question(drop_params=True), SIMILAR),
    ],
)
async def test_only_texts_of_routes_that_want_it_are_embedded(asked: Asking, policy: CachePolicy) -> None:
    desk = Desk(policy)
    await desk.ask(asked)

    assert desk.embedder.asked == []


async def test_without_an_embedding_the_same_question_is_still_found() -> None:
    desk = Desk()
    desk.embedder.is_down = True
    statuses = [await desk.status(question(text)) for text in (FRANCE, FRANCE_AGAIN, FRANCE)]

    assert (statuses, desk.index.questions) == (["miss", "miss", "hit"], {})


@pytest.mark.parametrize("away", ["cache", "index"])
async def test_nothing_is_embedded_while_it_could_not_be_of_use(away: str) -> None:
    desk = Desk()
    desk.cache.is_asked, desk.index.can_compare = away != "cache", away != "index"

    assert await desk.status(question()) == "miss"
    assert desk.embedder.asked == []


async def test_of_those_who_ask_the_same_at_once_one_embeds_and_one_asks_the_provider() -> None:
    desk = Desk()
    workers = [desk.worker(), desk.worker()]
    answers = await asyncio.gather(*(desk.ask(question(), through=workers[n % 2]) for n in range(10)))

    assert sorted(status for status, _, _ in answers) == ["hit"] * 9 + ["miss"]
    assert len({body for _, body, _ in answers}) == 1
    assert desk.embedder.asked == [FRANCE]


async def test_of_those_who_ask_nearly_the_same_at_once_one_embeds() -> None:
    desk = Desk()
    await desk.ask(question())
    workers = [desk.worker(), desk.worker()]
    answers = await asyncio.gather(*(desk.ask(question(FRANCE_AGAIN), through=workers[n % 2]) for n in range(10)))

    assert {status for status, _, _ in answers} == {"hit"}
    assert all(b"x-agg-cache-similarity" in told for _, _, told in answers)
    assert desk.embedder.asked == [FRANCE, FRANCE_AGAIN]


async def test_nobody_waits_until_the_hit_of_another_has_been_read() -> None:
    desk, going_on, read = Desk(), asyncio.Event(), asyncio.Event()
    await desk.ask(question())
    embed = desk.embedder.embed

    async def slowly(text: str, model: str, caller: Caller) -> Any:
        embedding = await embed(text, model, caller)
        await going_on.wait()
        return embedding

    async def read_slowly() -> None:
        turn = desk.turn(question(FRANCE_AGAIN))
        if not await turn.is_clear():
            await turn.wait()
        await read.wait()
        turn.end()

    desk.embedder.embed = slowly  # type: ignore[method-assign]
    reading = asyncio.create_task(read_slowly())
    await until(lambda: len(desk.embedder.asked) == 2)
    waiting = asyncio.create_task(desk.status(question(FRANCE_AGAIN)))
    await asyncio.sleep(0)
    going_on.set()
    async with asyncio.timeout(PATIENT_S):
        assert await waiting == "hit"
    assert (len(desk.embedder.asked), reading.done()) == (2, False)
    read.set()
    await reading


async def test_its_own_answer_that_came_while_it_was_embedded_is_no_answer_to_another_question() -> None:
    desk = Desk()
    await desk.ask(question())
    ((key, answer),) = desk.cache.answers.items()
    del desk.cache.answers[key]
    embed = desk.embedder.embed

    async def meanwhile(text: str, model: str, caller: Caller) -> Any:
        desk.cache.answers[key] = answer
        return await embed(text, model, caller)

    desk.embedder.embed = meanwhile  # type: ignore[method-assign]
    status, _, told = await desk.ask(question())

    assert (status, set(told)) == ("hit", {b"x-agg-cache"})


async def test_who_leaves_while_waiting_for_an_embedding_lets_the_next_one_go_on() -> None:
    desk, never = Desk(), asyncio.Event()
    embed = desk.embedder.embed

    async def hang(text: str, model: str, caller: Caller) -> Any:
        await embed(text, model, caller)
        await never.wait()

    desk.embedder.embed = hang  # type: ignore[method-assign]
    leaving = asyncio.create_task(desk.ask(question()))
    await until(lambda: bool(desk.embedder.asked))
    desk.embedder.embed = embed  # type: ignore[method-assign]
    next_one = asyncio.create_task(desk.ask(question()))
    await asyncio.sleep(0)
    leaving.cancel()

    assert (await next_one)[0] == "miss"
    assert desk.cache.leads == {}


@given(st.lists(st.sampled_from([FRANCE, FRANCE_AGAIN, NOTHING_LIKE_IT, "zzz", "France, the capital of what is it?"])))
async def test_an_answer_is_only_ever_given_to_a_question_that_is_near_to_its_own(texts: list[str]) -> None:
    """Whatever was asked before: never a chain of neighbours."""
    desk, asked_with = Desk(), dict[bytes, str]()
    for text in texts:
        status, body, _ = await desk.ask(question(text))
        if status == "miss":
            asked_with[body] = text
        else:
            assert await _similarity(desk, asked_with[body], text) >= 0.95


async def _similarity(desk: Desk, one: str, other: str) -> float:
    index = InMemorySemanticIndex()
    first, second = [await LetterEmbedder().embed(text, "embed", question().caller) for text in (one, other)]
    assert first and second
    place: Any = None
    await index.add(place, first.vector, "one", 60)
    near = await index.nearest(place, second.vector, -1)
    return near.similarity if near else 0.0
