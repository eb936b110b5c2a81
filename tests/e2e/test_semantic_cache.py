"""Nearly the same question, the same answer: over the running program, with a provider that puts near texts near."""

import re
import threading
import zlib
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.people import client_of, ended_request, make_key, register
from tests.e2e.running import Program, until
from tests.e2e.vendors.server import Answer, Heard, StandIn, Whole, stand_in
from tests.support import open_directory

CATALOGUE = """
[[providers]]
name = "words"
base_url = "{base_url}/v1"

[[models]]
model = "words/bag"
provider = "words"
upstream_model = "bag"
owned_by = "words"
kind = "embedding"
context_length = 8192
max_output_tokens = 0
valid_from = "2020-01-01"
usd_per_million = {{ input = "0.02" }}

[[models]]
model = "words/free"
provider = "words"
upstream_model = "bag"
owned_by = "words"
kind = "embedding"
context_length = 8192
max_output_tokens = 0
valid_from = "2020-01-01"
usd_per_million = {{ input = "0" }}

[[deployments]]
name = "echo"
model = "sim/echo"
provider = "sim"
upstream_model = "echo"

[[deployments]]
name = "free"
model = "sim/free"
provider = "sim"
upstream_model = "free"

[[deployments]]
name = "bag"
model = "words/bag"
provider = "words"
upstream_model = "bag"

[[routes]]
name = "vectors"
deployments = ["bag"]

[[routes]]
name = "similar"
deployments = ["echo"]
cache = {{ ttl_s = 300, semantic = {{ embedding_model = "vectors", threshold = 0.8 }} }}

[[routes]]
name = "similar-and-free"
deployments = ["free"]
cache = {{ ttl_s = 300, semantic = {{ embedding_model = "words/free", threshold = 0.8 }} }}

[[limits]]
scope = "model"
subject = "vectors"
requests_per_minute = 0
"""
"""No client may ask for `vectors` itself."""
WORDS = 512
QUESTION, NEAR, FAR = (
    "What is the capital city of France?",
    "What is the capital city of France please?",
    "How do I bake bread without any yeast?",
)


class Words:
    """A vector counts words: texts are near that share them. While `is_down` it refuses."""

    def __init__(self) -> None:
        self.is_down = False

    def __call__(self, heard: Heard) -> Answer:
        if self.is_down:
            return Whole({"error": {"message": "The server had an error", "type": "server_error"}}, 500)
        words = heard.body["input"].lower().replace("?", "").split()
        vector = [0.0] * WORDS
        for word in words:
            vector[zlib.crc32(word.encode()) % WORDS] += 1.0
        usage = {"prompt_tokens": len(words), "total_tokens": len(words)}
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        return Whole({"object": "list", "model": "bag-served", "data": data, "usage": usage})


@pytest.fixture(scope="module")
def words() -> Words:
    return Words()


@pytest.fixture(scope="module")
def provider(words: Words) -> Generator[StandIn]:
    with stand_in(words, "") as running:
        yield running


@pytest.fixture(scope="module")
def environ(provider: StandIn) -> Generator[dict[str, str]]:
    with open_directory() as directory:
        path = directory / "catalogue.toml"
        path.write_text(CATALOGUE.format(base_url=provider.base_url))
        yield {"AGG_CATALOG": str(path)}


@pytest.fixture(scope="module")
def on(program: Program) -> Program:
    """Its API has seen that the database can compare."""
    with client_of(program.base_url) as client:
        until(lambda: client.get("/health").json()["semantic_cache"] == "on")
    return program


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> str:
    """A conversation of its own for each test."""
    return f"You are asked by {request.node.name}."


def ask(program: Program, subject: str, text: str, key: str = "", **members: Any) -> httpx.Response:
    headers = members.pop("headers", {})
    turns = [{"role": "system", "content": subject}, {"role": "user", "content": text}]
    asked = {"model": "similar", "messages": turns, "max_tokens": 20, **members}
    with client_of(program.base_url, key or program.api_key) as client:
        answer = client.post("/v1/chat/completions", json=asked, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def ask_first(program: Program, subject: str, text: str, key: str = "", **members: Any) -> httpx.Response:
    """And wait until it is remembered, which is after the answer was given."""
    before = _remembered(program)
    answer = ask(program, subject, text, key, **members)
    until(lambda: _remembered(program) > before)
    return answer


def cache_said(*answers: httpx.Response) -> list[str]:
    return [answer.headers["x-agg-cache"] for answer in answers]


def said(answer: httpx.Response) -> str:
    """Without the comments, which tell the cost."""
    return "\n".join(line for line in answer.text.splitlines() if not line.startswith(":"))


@pytest.mark.parametrize("stream", [False, True])
def test_a_near_question_gets_the_same_answer_for_nothing_and_its_embedding_is_charged(
    on: Program, provider: StandIn, subject: str, *, stream: bool
) -> None:
    before = len(provider.heard)
    first = ask_first(on, subject, QUESTION, stream=stream)
    near = ask(on, subject, NEAR, stream=stream)
    hit = ended_request(on, near.headers["x-request-id"])
    ids = [heard.headers["x-agg-request-id"] for heard in provider.heard[before:]]
    embeddings = [ended_request(on, ident) for ident in ids]

    assert cache_said(first, near) == ["miss", "hit"]
    assert said(near) == said(first)
    assert 0.9 < float(near.headers["x-agg-cache-similarity"]) < 1
    assert "x-agg-cache-similarity" not in first.headers
    assert (hit["status"], hit["cost_nanos"], hit["price_id"]) == ("completed", 0, "semantic_cache_hit")
    assert [heard.body["input"] for heard in provider.heard[before:]] == [QUESTION, NEAR]
    assert [(each["endpoint"], each["status"], each["cost_nanos"]) for each in embeddings] == [
        ("embeddings", "completed", 7 * 20),
        ("embeddings", "completed", 8 * 20),
    ]
    assert {each["key_id"] for each in embeddings} == {hit["key_id"]}


def test_embeddings_are_part_of_the_accounts_usage(on: Program, subject: str) -> None:
    def spent(up_to: httpx.Response) -> int:
        seen = {"group_by": "model", "min_position": up_to.headers["x-agg-position"]}
        with client_of(on.base_url, on.api_key) as client:
            groups = client.get("/api/v1/users/usage", params=seen).json()["data"]
        return sum(group["cost_nanos"] for group in groups if group["model"] == "words/bag")

    before = spent(ask(on, subject, FAR))

    assert spent(ask(on, subject, QUESTION)) == before + 7 * 20


def test_a_far_question_is_answered_anew(on: Program, subject: str) -> None:
    answers = [ask_first(on, subject, QUESTION), ask(on, subject, FAR)]

    assert cache_said(*answers) == ["miss", "miss"]


def test_the_same_words_in_another_conversation_are_another_question(on: Program, subject: str) -> None:
    answers = [
        ask_first(on, subject, QUESTION),
        ask(on, f"{subject} Be brief.", NEAR),
        ask(on, subject, NEAR, temperature=1),
    ]

    assert cache_said(*answers) == ["miss", "miss", "miss"]


def test_who_wants_a_new_answer_gets_one_and_pays_for_no_embedding(
    on: Program, provider: StandIn, subject: str
) -> None:
    ask_first(on, subject, QUESTION)
    before = len(provider.heard)
    fresh = ask(on, subject, NEAR, headers={"cache-control": "no-cache"})
    untold = ask(on, subject, NEAR, headers={"cache-control": "no-store"})

    assert cache_said(fresh, untold) == ["miss", "bypass"]
    assert len(provider.heard) == before


def test_another_account_gets_no_answer_of_ours(on: Program, subject: str) -> None:
    stranger = make_key(on.base_url, register(on.base_url).access)["key"]
    answers = [
        ask_first(on, subject, QUESTION, model="similar-and-free"),
        ask_first(on, subject, NEAR, stranger, model="similar-and-free"),
        ask(on, subject, QUESTION, stranger, model="similar-and-free"),
    ]

    assert cache_said(*answers) == ["miss", "miss", "hit"]


def test_what_was_purged_is_not_given_again(on: Program, subject: str) -> None:
    ask_first(on, subject, QUESTION)
    with client_of(on.base_url, _admin(on)) as client:
        account = client.get("/api/v1/users/profile").json()["account_id"]
        purged = client.delete(f"/api/v1/admin/cache/{account}")
    near = ask(on, subject, NEAR)

    assert purged.status_code == 204
    assert cache_said(near) == ["miss"]


def test_of_many_who_ask_the_same_at_once_one_embeds(on: Program, provider: StandIn, subject: str) -> None:
    before, start = len(provider.heard), threading.Barrier(8)

    def race(_: int) -> httpx.Response:
        start.wait()
        return ask(on, subject, QUESTION, sim={"latency_ms": 300})

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(race, range(8)))

    assert sorted(cache_said(*answers)) == ["hit"] * 7 + ["miss"]
    assert len(provider.heard) == before + 1


def test_while_the_embedding_provider_is_down_questions_are_answered(
    on: Program, words: Words, provider: StandIn, subject: str
) -> None:
    before = len(provider.heard)
    words.is_down = True
    try:
        answers = [ask(on, subject, text) for text in (QUESTION, NEAR, QUESTION)]
    finally:
        words.is_down = False
    failed = ended_request(on, provider.heard[before].headers["x-agg-request-id"])

    assert cache_said(*answers) == ["miss", "miss", "hit"]
    assert (failed["status"], failed["cost_nanos"]) == ("failed", 0)


def _admin(program: Program) -> str:
    credentials = {"email": program.ready["admin_email"], "password": program.ready["admin_password"]}
    with client_of(program.base_url) as client:
        return client.post("/api/v1/auth/login", json=credentials).json()["access_token"]


def _remembered(program: Program) -> float:
    """How many questions have been."""
    with client_of(program.base_url) as client:
        found = re.search(
            r'^agg_cache_calls_total\{outcome="question_added"\} (.+)$', client.get("/metrics").text, re.M
        )
    return float(found[1]) if found else 0.0
