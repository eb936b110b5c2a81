"""People and their accounts at the running program: two API processes, one truth."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.people import PASSWORD, client_of, is_ready, make_key, register
from tests.e2e.running import Beside, Program, running_beside, until

FAR_FUTURE = 10**12
READS = ("/users/usage", "/billing/balance", "/billing/ledger", "/requests")


@pytest.fixture(scope="module")
def second(program: Program) -> Generator[Beside, None, None]:
    """Another API on the same data."""
    with running_beside(program, "serve") as api:
        until(lambda: not api.is_running or is_ready(api.base_url))
        assert api.is_running, api.said
        yield api


def post(base_url: str, path: str, body: dict[str, Any], credential: str = "") -> httpx.Response:
    with client_of(base_url, credential) as client:
        return client.post(path, json=body)


def get(base_url: str, path: str, credential: str, **query: str) -> httpx.Response:
    with client_of(base_url, credential) as client:
        return client.get(f"/api/v1{path}", params=query)


def delete(base_url: str, path: str, credential: str) -> httpx.Response:
    with client_of(base_url, credential) as client:
        return client.delete(f"/api/v1{path}")


def chat(base_url: str, credential: str, model: str) -> httpx.Response:
    question = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    return post(base_url, "/v1/chat/completions", question, credential)


def rotate(base_url: str, refresh_token: str) -> httpx.Response:
    return post(base_url, "/api/v1/auth/refresh", {"refresh_token": refresh_token})


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_who_registers_can_log_in_anywhere(program: Program, second: Beside) -> None:
    person = register(program.base_url)
    log_in = {"email": person.email.upper(), "password": PASSWORD}
    again = {"email": person.email, "password": PASSWORD, "name": "Again"}

    for base_url in (program.base_url, second.base_url):
        tokens = post(base_url, "/api/v1/auth/login", log_in)
        assert tokens.status_code == 200
        assert tokens.headers["cache-control"] == "no-store"
        profile = get(base_url, "/users/profile", tokens.json()["access_token"], min_position=person.position)
        assert profile.json()["email"] == person.email
    assert code_of(post(second.base_url, "/api/v1/auth/register", again)) == (409, "email_taken")
    assert code_of(post(second.base_url, "/api/v1/auth/login", {**log_in, "password": "wrong horse"})) == (
        401,
        "bad_credentials",
    )


def test_refresh_rotates_and_a_token_used_again_ends_the_family_everywhere(program: Program, second: Beside) -> None:
    person = register(program.base_url)
    first = rotate(program.base_url, person.refresh).json()
    other = rotate(second.base_url, first["refresh_token"]).json()
    assert len({person.refresh, first["refresh_token"], other["refresh_token"]}) == 3
    assert get(second.base_url, "/users/profile", other["access_token"], min_position=person.position).is_success

    assert code_of(rotate(program.base_url, person.refresh)) == (401, "refresh_reuse")

    assert rotate(program.base_url, other["refresh_token"]).status_code == 401
    for base_url in (program.base_url, second.base_url):
        until(lambda: get(base_url, "/users/profile", other["access_token"]).status_code == 401)  # noqa: B023


def test_logging_out_ends_the_token_here_and_at_the_other_api(program: Program, second: Beside) -> None:
    person = register(program.base_url)
    assert get(second.base_url, "/keys", person.access).is_success

    assert post(program.base_url, "/api/v1/auth/logout", {}, person.access).status_code == 204

    assert code_of(get(program.base_url, "/keys", person.access)) == (401, "session_ended")
    until(lambda: get(second.base_url, "/keys", person.access).status_code == 401)
    assert rotate(second.base_url, person.refresh).status_code == 401
    assert post(second.base_url, "/api/v1/auth/logout", {}, person.access).status_code == 204


def test_a_key_works_at_once_at_both_and_not_when_it_is_revoked(program: Program, second: Beside) -> None:
    person = register(program.base_url)
    made = make_key(program.base_url, person.access)
    for base_url in (program.base_url, second.base_url):
        assert chat(base_url, made["key"], "sim/free").status_code == 200
    assert code_of(post(program.base_url, "/api/v1/keys", {"name": "more"}, made["key"])) == (403, "not_allowed")

    assert delete(program.base_url, f"/keys/{made['id']}", person.access).status_code == 204

    refused = chat(program.base_url, made["key"], "sim/free")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    until(lambda: chat(second.base_url, made["key"], "sim/free").status_code == 401)


def test_without_credit_what_costs_is_refused_and_what_is_free_is_served(program: Program) -> None:
    person = register(program.base_url)
    refused = chat(program.base_url, person.access, "sim/echo")
    served = chat(program.base_url, person.access, "sim/free")

    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "credit_exhausted")
    assert refused.headers["x-should-retry"] == "false"
    assert (served.status_code, served.headers["x-agg-cost-usd"]) == (200, "0.00")


@pytest.mark.parametrize("model", ["sim/echo", "sim/free"])
def test_every_read_shows_a_request_whose_position_it_is_given(program: Program, model: str) -> None:
    """Also a request that costs nothing and so moves no money."""
    answer = chat(program.base_url, program.api_key, model)
    ident, position = answer.headers["x-request-id"], answer.headers["x-agg-position"]
    usage, balance, ledger, requests = (
        get(program.base_url, path, program.api_key, min_position=position) for path in READS
    )

    assert {read.status_code for read in (usage, balance, ledger, requests)} == {200}
    assert requests.json()["data"][0]["id"] == ident
    cost = requests.json()["data"][0]["cost_nanos"]
    assert (cost == 0) == (model == "sim/free")
    assert usage.json()["totals"]["cost_nanos"] + balance.json()["balance_nanos"] == 100 * 10**9
    if cost:
        assert ledger.json()["data"][0]["type"] == "ledger.usage_charged.v1"
        assert ledger.json()["data"][0]["balance_after_nanos"] == balance.json()["balance_nanos"]


def test_an_account_that_never_had_credit_can_read_its_own_write(program: Program) -> None:
    person = register(program.base_url)
    position = chat(program.base_url, person.access, "sim/free").headers["x-agg-position"]
    reads = [get(program.base_url, path, person.access, min_position=position) for path in READS]
    usage, balance, ledger, requests = (read.json() for read in reads)

    assert [read.status_code for read in reads] == [200] * 4
    assert (usage["totals"]["requests"], balance["balance_nanos"], len(requests["data"])) == (1, 0, 1)
    assert [entry for entry in ledger["data"] if entry["amount_nanos"]] == []


def test_a_view_that_does_not_get_there_in_time_says_so(program: Program) -> None:
    asked = [(path, stream) for path in READS for stream in ("REQ", "EVT,REQ")] + [("/keys", "EVT")]

    def read(wanted: tuple[str, str]) -> httpx.Response:
        path, streams = wanted
        position = ",".join(f"{stream}:{FAR_FUTURE}" for stream in streams.split(","))
        return get(program.base_url, path, program.api_key, min_position=position)

    with ThreadPoolExecutor(len(asked)) as threads:
        answers = list(threads.map(read, asked))

    assert {code_of(answer) for answer in answers} == {(504, "behind_position")}
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json; charset=utf-8"}
    assert all(answer.json()["status"] == 504 and answer.headers["retry-after"] for answer in answers)


def test_what_belongs_to_another_tenant_is_not_found(program: Program) -> None:
    stranger = register(program.base_url)
    mine = register(program.base_url)
    key = make_key(program.base_url, mine.access)
    answer = chat(program.base_url, key["key"], "sim/free")
    ident, position = answer.headers["x-request-id"], answer.headers["x-agg-position"]

    assert get(program.base_url, f"/requests/{ident}", mine.access, min_position=position).status_code == 200
    for credential in (stranger.access, program.api_key):
        missing = get(program.base_url, f"/requests/{ident}", credential, min_position=position)
        assert code_of(missing) == (404, "not_found")
    assert code_of(delete(program.base_url, f"/keys/{key['id']}", stranger.access)) == (404, "not_found")
    assert get(program.base_url, "/requests", stranger.access, min_position=position).json()["data"] == []
    assert get(program.base_url, "/keys", stranger.access).json()["data"] == []
    assert chat(program.base_url, key["key"], "sim/free").status_code == 200


def test_a_second_api_spends_the_same_credit(program: Program, second: Beside) -> None:
    """Two workers with a lease each; the balance knows of both."""
    answers = [
        chat(base_url, program.api_key, "sim/echo")
        for base_url in (program.base_url, second.base_url)
        for _ in range(5)
    ]
    position = max((answer.headers["x-agg-position"] for answer in answers), key=lambda text: int(text[4:]))
    usage, balance = (
        get(base_url, path, program.api_key, min_position=position).json()
        for base_url, path in ((second.base_url, "/users/usage"), (program.base_url, "/billing/balance"))
    )

    assert {answer.status_code for answer in answers} == {200}
    assert usage["totals"]["cost_nanos"] + balance["balance_nanos"] == 100 * 10**9
