"""Routes, limits and the cache as clients meet them, over two APIs on one log and one Valkey."""

import re
import threading
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from adapters.embedded.home import free_port
from tests.e2e.people import client_of, ended_request, is_ready, make_key
from tests.e2e.running import Beside, Program, running_beside, until
from tests.support import open_directory

PER_MINUTE = 20
RACES = 10
CACHE_CALLS = re.compile(r'^agg_cache_calls_total\{outcome="(.+)"\} (.+)$', re.M)
CATALOGUE = f"""
[[deployments]]
name = "dead"
model = "gpt-4o-mini"
provider = "openai"
upstream_model = "gpt-4o-mini"

[[deployments]]
name = "alive"
model = "sim/echo"
provider = "sim"
upstream_model = "echo"
priority = 1

[[routes]]
name = "steady"
strategy = "priority"
deployments = ["dead", "alive"]

[[routes]]
name = "hopeless"
deployments = ["dead"]
fallback_models = ["sim/echo"]

[[routes]]
name = "remembered"
deployments = ["alive"]
cache = {{ ttl_s = 300 }}

[[limits]]
scope = "model"
subject = "sim/free"
requests_per_minute = {PER_MINUTE}

[[limits]]
scope = "model"
subject = "sim/embed"
requests_per_day = 1

[[routes]]
name = "metered"
deployments = ["alive"]

[[limits]]
scope = "model"
subject = "metered"
spend_usd_per_day = "0.01"
"""


@pytest.fixture(scope="module")
def environ() -> Generator[dict[str, str], None, None]:
    with open_directory() as directory:
        path = directory / "catalogue.toml"
        path.write_text(CATALOGUE)
        yield {"AGG_CATALOG": str(path), "OPENAI_BASE_URL": f"http://127.0.0.1:{free_port()}/v1"}


@pytest.fixture(scope="module")
def second(program: Program) -> Generator[Beside]:
    with running_beside(program, "serve") as api:
        until(lambda: is_ready(api.base_url))
        yield api


def ask(base_url: str, key: str, model: str, content: str = "Hello", **members: Any) -> httpx.Response:
    headers = members.pop("headers", {})
    asked = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 20, **members}
    with client_of(base_url, key) as client:
        return client.post("/v1/chat/completions", json=asked, headers=headers)


@pytest.mark.parametrize("stream", [False, True])
def test_a_dead_provider_is_passed_over_and_the_request_says_why(program: Program, *, stream: bool) -> None:
    answer = ask(program.base_url, program.api_key, "steady", f"stream {stream}", stream=stream)
    request = ended_request(program, answer.headers["x-request-id"])

    assert answer.status_code == 200, answer.text
    if not stream:
        assert (answer.headers["x-agg-provider"], answer.headers["x-agg-model"]) == ("sim", "sim/echo")
        assert answer.headers["x-agg-attempts"] == "2"
    assert (request["status"], request["model"]) == ("completed", "sim/echo")
    assert [step["event"] for step in request["timeline"]] == [
        "request.admitted",
        "request.attempted",
        "request.completed",
    ]
    assert (request["timeline"][1]["deployment"], request["timeline"][1]["error_kind"]) == ("dead", "unreachable")
    assert (request["route"], request["choice"]["strategy"], request["deployment"]) == ("steady", "priority", "alive")


def test_a_route_falls_back_to_a_model(program: Program) -> None:
    answer = ask(program.base_url, program.api_key, "hopeless")

    assert (answer.status_code, answer.headers["x-agg-model"]) == (200, "sim/echo")


def test_routes_are_listed_among_the_models(program: Program) -> None:
    with client_of(program.base_url, program.api_key) as client:
        names = {model["id"] for model in client.get("/v1/models").json()["data"]}

    assert {"steady", "remembered", "sim/echo"} <= names


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_question_is_answered_from_the_cache_for_nothing(
    program: Program, second: Beside, *, stream: bool
) -> None:
    content = f"Remember {stream}"
    first = ask(program.base_url, program.api_key, "remembered", content, stream=stream)
    hit = ask(second.base_url, program.api_key, "remembered", content, stream=stream)
    fresh = ask(
        program.base_url, program.api_key, "remembered", content, stream=stream, headers={"cache-control": "no-cache"}
    )
    plain = ask(program.base_url, program.api_key, "sim/echo", content, stream=stream)
    request = ended_request(program, hit.headers["x-request-id"])

    assert [each.headers["x-agg-cache"] for each in (first, hit, fresh, plain)] == ["miss", "hit", "miss", "bypass"]
    assert _said(hit) == _said(first)
    assert (request["status"], request["cost_nanos"], request["price_id"]) == ("completed", 0, "cache_hit")


def cache_calls(program: Program, second: Beside) -> Counter[str]:
    """By what came of them, over both APIs."""
    calls = Counter[str]()
    for base_url in (program.base_url, second.base_url):
        with client_of(base_url, program.api_key) as client:
            for outcome, count in CACHE_CALLS.findall(client.get("/metrics").text):
                calls[outcome] += int(float(count))
    return calls


def test_of_many_who_ask_the_same_at_once_one_asks_the_provider(program: Program, second: Beside) -> None:
    """In a race in which Valkey was never late: without it each worker rightly goes on alone."""

    def race(content: str) -> tuple[list[str], int, bool]:
        before = cache_calls(program, second)
        served, start = len(program.served_log.read_bytes().splitlines()), threading.Barrier(12)

        def ask_with_all(number: int) -> httpx.Response:
            start.wait()
            base_url = (program.base_url, second.base_url)[number % 2]
            return ask(base_url, program.api_key, "remembered", content, sim={"latency_ms": 500})

        with ThreadPoolExecutor(12) as threads:
            answers = list(threads.map(ask_with_all, range(12)))
        assert {answer.status_code for answer in answers} == {200}
        asked = len(program.served_log.read_bytes().splitlines()) - served
        outcomes = sorted(answer.headers["x-agg-cache"] for answer in answers)
        made = cache_calls(program, second) - before
        assert made["miss"]
        return outcomes, asked, made.keys().isdisjoint({"failed", "skipped", "slow"})

    races = (race(f"All at once {number}") for number in range(RACES))
    outcomes, asked, _ = next(each for each in races if each[2])

    assert outcomes == ["hit"] * 11 + ["miss"]
    assert asked == 1


def test_over_two_workers_never_one_request_more_than_the_limit(program: Program, second: Beside) -> None:
    """But for the minute in which Valkey goes away, which may see twice the limit."""
    key = make_key(program.base_url, _admin(program))["key"]
    start = threading.Barrier(16)

    def hammer(number: int) -> list[httpx.Response]:
        start.wait()
        base_url = (program.base_url, second.base_url)[number % 2]
        return [ask(base_url, key, "sim/free") for _ in range(4)]

    with ThreadPoolExecutor(16) as threads:
        answers = [answer for some in threads.map(hammer, range(16)) for answer in some]
    admitted = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]

    if were_alone(answers):
        assert len(admitted) <= 2 * PER_MINUTE
    else:
        assert len(admitted) == PER_MINUTE
    assert {answer.status_code for answer in refused} == {429}
    assert {answer.json()["error"]["code"] for answer in refused} == {"rate_limit_exceeded"}
    assert all(1 <= int(answer.headers["retry-after"]) <= 120 for answer in refused)
    assert refused[0].headers["x-ratelimit-limit-requests"] == str(PER_MINUTE)
    assert "ratelimit-policy" in admitted[0].headers


def test_bug_another_spelling_of_a_model_had_a_limit_of_its_own(program: Program) -> None:
    with client_of(program.base_url, program.api_key) as client:
        asked = [{"model": name, "input": "Hello"} for name in ("sim/embed", "sim/sim/embed")]
        answers = [client.post("/v1/embeddings", json=each) for each in asked]

    assert [answer.status_code for answer in answers] == [200, 429], [answer.text for answer in answers]


def test_a_budget_is_never_overspent_and_says_402(program: Program, second: Beside) -> None:
    """Each costs 0.0036 USD, and a bit: two fit into 0.01, and a third does not. While Valkey is late, one more fits
    into the half that each worker has for itself."""
    start = threading.Barrier(8)

    def spend(number: int) -> httpx.Response:
        start.wait()
        base_url = (program.base_url, second.base_url)[number % 2]
        return ask(base_url, program.api_key, "metered", f"Spend {number}", max_tokens=900, sim={"words": 900})

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(spend, range(8)))
    refused = [answer for answer in answers if answer.status_code != 200]

    assert len(refused) in ((4, 5, 6) if were_alone(answers) else (6,))
    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in refused} == {(402, "budget_exhausted")}
    assert {answer.headers["x-should-retry"] for answer in refused} == {"false"}


def were_alone(answers: list[httpx.Response]) -> bool:
    """Whether a worker went by its own share, for Valkey was late: it may be, on a busy machine."""
    return any("x-agg-degraded" in answer.headers for answer in answers)


def _said(answer: httpx.Response) -> str:
    """Without the comments, which tell the cost."""
    return "\n".join(line for line in answer.text.splitlines() if not line.startswith(":"))


def _admin(program: Program) -> str:
    credentials = {"email": program.ready["admin_email"], "password": program.ready["admin_password"]}
    with client_of(program.base_url) as client:
        return client.post("/api/v1/auth/login", json=credentials).json()["access_token"]
