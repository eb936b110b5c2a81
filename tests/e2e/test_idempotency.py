"""An `Idempotency-Key` over two APIs on one log: one upstream call, one charge, one answer."""

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import pytest

from tests.e2e.people import client_of, is_ready
from tests.e2e.running import Beside, Program, running_beside, until


@pytest.fixture(scope="module")
def second(program: Program) -> Generator[Beside]:
    with running_beside(program, "serve") as api:
        until(lambda: is_ready(api.base_url))
        yield api


def ask(base_url: str, program: Program, key: str, **members: Any) -> httpx.Response:
    asked = {"model": "sim/echo", "messages": [{"role": "user", "content": key}], **members}
    with client_of(base_url, program.api_key) as client:
        return client.post("/v1/chat/completions", json=asked, headers={"idempotency-key": key})


def served(program: Program, request_ids: set[str]) -> list[str]:
    lines = program.served_log.read_bytes().splitlines()
    return [ident for line in lines if (ident := msgspec.json.decode(line)["request_id"]) in request_ids]


@pytest.mark.parametrize("stream", [False, True])
def test_of_many_who_race_over_two_workers_one_asks_the_provider_and_all_get_its_answer(
    program: Program, second: Beside, *, stream: bool
) -> None:
    key, start = f"race-{stream}", threading.Barrier(16)
    served_before = len(program.served_log.read_bytes().splitlines())

    def race(number: int) -> httpx.Response:
        start.wait()
        base_url = (program.base_url, second.base_url)[number % 2]
        return ask(base_url, program, key, stream=stream, sim={"latency_ms": 300})

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(race, range(16)))
    apis = (program.base_url, second.base_url)
    afterwards = [ask(base_url, program, key, stream=stream, sim={"latency_ms": 300}) for base_url in apis]

    winners = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 409}
    for answer in (*winners, *afterwards):
        assert answer.content == winners[0].content
        assert answer.headers["x-request-id"] == winners[0].headers["x-request-id"]
    assert [answer.headers.get("idempotency-replayed") for answer in afterwards] == ["true", "true"]
    assert len(program.served_log.read_bytes().splitlines()) == served_before + 1


def test_a_replay_costs_nothing(program: Program, second: Beside) -> None:
    first = ask(program.base_url, program, "cost")
    replay = ask(second.base_url, program, "cost")

    position = first.headers["x-agg-position"]
    with client_of(program.base_url, program.api_key) as client:
        found = client.get("/api/v1/requests", params={"min_position": position, "limit": 200}).json()["data"]
    assert replay.content == first.content
    assert [row["id"] for row in found].count(first.headers["x-request-id"]) == 1
    assert len(served(program, {row["id"] for row in found})) == len(found)


def test_another_body_is_refused_and_a_failure_at_no_cost_leaves_the_key_free(program: Program) -> None:
    ask(program.base_url, program, "body")

    other = ask(program.base_url, program, "body", max_tokens=3)
    failed = ask(program.base_url, program, "free", sim={"fail": "refuse"})
    again = ask(program.base_url, program, "free", sim={"fail": "refuse"})

    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_mismatch")
    assert failed.status_code == again.status_code == 502
    assert failed.headers["x-request-id"] != again.headers["x-request-id"]


def test_it_holds_for_accounts_too_and_survives_the_loss_of_valkey(program: Program) -> None:
    asked = {"email": "twice@example.com", "password": "correct horse battery", "name": "Twice"}
    with client_of(program.base_url) as client:
        first = client.post("/api/v1/auth/register", json=asked, headers={"idempotency-key": "register"})
        valkey = program.pids["valkey"]
        program.kill("valkey")
        again = client.post("/api/v1/auth/register", json=asked, headers={"idempotency-key": "register"})
        program.until_back("valkey", valkey)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
