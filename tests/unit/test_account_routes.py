"""Accounts through HTTP: register, log in, refresh, log out, profile and keys, over the in-memory log."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from structlog.testing import capture_logs

from api.accounts import KeyRow, UserRow
from domain.ids import AccountId, UserId
from domain.session import SessionClosed, SessionRefreshed
from domain.user import UserRegistered
from projections.paging import Page
from tests.accounts import Beating, Clock, FollowedLog, make_accounts, running

Client = AsyncTestClient[Litestar]
ADA: dict[str, Any] = {"email": "ada@example.com", "password": "correct horse", "name": "Ada Lovelace"}
AUTH = "/api/v1/auth"


@pytest.fixture
def log() -> FollowedLog:
    return FollowedLog()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def client(log: FollowedLog, clock: Clock) -> AsyncIterator[Client]:
    async with running(make_accounts(log, clock=clock)) as client:
        yield client


async def registered(client: Client, **changes: str) -> dict[str, Any]:
    answer = await client.post(f"{AUTH}/register", json={**ADA, **changes})
    assert answer.status_code == 201, answer.text
    return answer.json()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_registering_answers_the_user_the_account_and_tokens_that_work(client: Client) -> None:
    answer = await client.post(f"{AUTH}/register", json=ADA)

    body = answer.json()
    assert (answer.status_code, answer.headers["x-agg-position"]) == (201, "EVT:4")
    assert answer.headers["cache-control"] == "no-store"
    assert body["user"]["email"] == "ada@example.com"
    assert body["account"]["id"] == body["user"]["account_id"]
    assert body["token_type"] == "Bearer" and body["expires_in"] == 900
    profile = await client.get("/api/v1/users/profile", headers=bearer(body["access_token"]))
    assert profile.json() == body["user"]


async def test_one_email_in_two_spellings_is_one_account(client: Client) -> None:
    await registered(client)

    answer = await client.post(f"{AUTH}/register", json={**ADA, "email": "  ADA@Example.COM "})

    assert answer.status_code == 409
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["code"] == "email_taken"
    assert answer.json()["type"] == "/problems/email_taken"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_of_two_registrations_at_once_one_wins(client: Client, log: FollowedLog) -> None:
    answers = await asyncio.gather(*(client.post(f"{AUTH}/register", json=ADA) for _ in range(2)))

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert sum(isinstance(fact, UserRegistered) for fact in log.facts) == 1


async def test_personal_data_is_sealed_in_the_log(client: Client, log: FollowedLog) -> None:
    await registered(client)

    recorded = repr(log.facts)
    assert "ada@example.com" not in recorded and "Ada" not in recorded and "correct horse" not in recorded


async def test_logging_in_opens_another_session(client: Client) -> None:
    await registered(client)

    answer = await client.post(f"{AUTH}/login", json={"email": ADA["email"], "password": ADA["password"]})

    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "token_type", "expires_in", "refresh_token", "refresh_expires_in"}
    profile = await client.get("/api/v1/users/profile", headers=bearer(answer.json()["access_token"]))
    assert profile.status_code == 200


async def test_a_wrong_password_and_an_unknown_email_get_the_same_answer(client: Client) -> None:
    await registered(client)

    wrong = await client.post(f"{AUTH}/login", json={"email": ADA["email"], "password": "wrong"})
    unknown = await client.post(f"{AUTH}/login", json={"email": "nobody@example.com", "password": "wrong"})

    same = {**wrong.json(), "request_id": ""}
    assert wrong.status_code == unknown.status_code == 401
    assert same == {**unknown.json(), "request_id": ""}
    assert same["code"] == "bad_credentials"


async def test_refreshing_rotates_the_token(client: Client) -> None:
    first = await registered(client)

    second = (await client.post(f"{AUTH}/refresh", json={"refresh_token": first["refresh_token"]})).json()
    third = await client.post(f"{AUTH}/refresh", json={"refresh_token": second["refresh_token"]})

    assert third.status_code == 200
    assert len({first["refresh_token"], second["refresh_token"], third.json()["refresh_token"]}) == 3


async def test_twenty_refreshes_at_once_have_one_successor(client: Client, log: FollowedLog) -> None:
    token = (await registered(client))["refresh_token"]

    answers = await asyncio.gather(*(client.post(f"{AUTH}/refresh", json={"refresh_token": token}) for _ in range(20)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    assert sum(isinstance(fact, SessionRefreshed) for fact in log.facts) == 1


async def test_twenty_refreshes_on_two_workers_have_one_successor(log: FollowedLog) -> None:
    async with running(make_accounts(log)) as one, running(make_accounts(log)) as other:
        token = (await registered(one))["refresh_token"]

        answers = await asyncio.gather(
            *(client.post(f"{AUTH}/refresh", json={"refresh_token": token}) for client in [one, other] * 10)
        )

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    assert sum(isinstance(fact, SessionRefreshed) for fact in log.facts) == 1


async def test_a_spent_refresh_token_revokes_its_family(client: Client, log: FollowedLog) -> None:
    spent = (await registered(client))["refresh_token"]
    second = (await client.post(f"{AUTH}/refresh", json={"refresh_token": spent})).json()
    third = (await client.post(f"{AUTH}/refresh", json={"refresh_token": second["refresh_token"]})).json()

    reuse = await client.post(f"{AUTH}/refresh", json={"refresh_token": spent})

    assert (reuse.status_code, reuse.json()["code"]) == (401, "refresh_reuse")
    assert [fact.reason for fact in log.facts if isinstance(fact, SessionClosed)] == ["refresh_reuse"]
    newest = await client.post(f"{AUTH}/refresh", json={"refresh_token": third["refresh_token"]})
    assert (newest.status_code, newest.json()["code"]) == (401, "session_ended")
    assert (await client.get("/api/v1/users/profile", headers=bearer(third["access_token"]))).status_code == 401


async def test_a_refresh_token_repeated_after_the_window_revokes_its_family(client: Client, clock: Clock) -> None:
    spent = (await registered(client))["refresh_token"]
    await client.post(f"{AUTH}/refresh", json={"refresh_token": spent})

    clock.ahead = timedelta(seconds=11)
    reuse = await client.post(f"{AUTH}/refresh", json={"refresh_token": spent})

    assert (reuse.status_code, reuse.json()["code"]) == (401, "refresh_reuse")


async def test_a_forged_refresh_token_ends_no_session(client: Client, log: FollowedLog) -> None:
    token = (await registered(client))["refresh_token"]
    body, _, mac = token.rpartition(".")

    for forged in (f"{body}.{'A' * len(mac)}", "agg_rt_rubbish", "", f"{body}.é", "agg_rt_" + "A" * 5000):
        answer = await client.post(f"{AUTH}/refresh", json={"refresh_token": forged})
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), forged

    assert not any(isinstance(fact, SessionClosed) for fact in log.facts)
    assert (await client.post(f"{AUTH}/refresh", json={"refresh_token": token})).status_code == 200


async def test_logging_out_stops_the_tokens_at_once_on_every_worker(log: FollowedLog) -> None:
    async with running(make_accounts(log)) as one, running(make_accounts(log)) as other:
        tokens = await registered(one)

        answer = await one.post(f"{AUTH}/logout", headers=bearer(tokens["access_token"]))

        assert answer.status_code == 204
        for worker in (one, other):
            refused = await worker.get("/api/v1/users/profile", headers=bearer(tokens["access_token"]))
            assert (refused.status_code, refused.json()["code"]) == (401, "session_ended")
            refresh = await worker.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]})
            assert (refresh.status_code, refresh.json()["code"]) == (401, "session_ended")
        assert (await one.post(f"{AUTH}/logout", headers=bearer(tokens["access_token"]))).status_code == 204


async def test_a_logout_during_refreshes_leaves_nothing_that_works(client: Client) -> None:
    tokens = await registered(client)
    refreshing = [client.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]}) for _ in range(5)]
    leaving = client.post(f"{AUTH}/logout", headers=bearer(tokens["access_token"]))

    answers = await asyncio.gather(*refreshing, leaving, *refreshing[5:])

    newest = [answer.json()["refresh_token"] for answer in answers[:5] if answer.status_code == 200]
    for token in [tokens["refresh_token"], *newest]:
        assert (await client.post(f"{AUTH}/refresh", json={"refresh_token": token})).status_code == 401


async def test_logging_out_everywhere_ends_all_sessions(client: Client) -> None:
    first = await registered(client)
    second = (await client.post(f"{AUTH}/login", json={k: ADA[k] for k in ("email", "password")})).json()

    await client.post(f"{AUTH}/logout?all=true", headers=bearer(first["access_token"]))

    refused = await client.get("/api/v1/users/profile", headers=bearer(second["access_token"]))
    assert refused.status_code == 401


async def test_a_profile_is_changed_and_read(client: Client) -> None:
    tokens = await registered(client)
    headers = bearer(tokens["access_token"])

    changed = await client.put("/api/v1/users/profile", json={"name": " Augusta  Ada "}, headers=headers)

    assert changed.json()["name"] == "Augusta Ada"
    assert changed.headers["x-agg-position"] == "EVT:5"
    assert (await client.get("/api/v1/users/profile", headers=headers)).json()["name"] == "Augusta Ada"
    again = await client.put("/api/v1/users/profile", json={"name": "Augusta Ada"}, headers=headers)
    assert again.headers["x-agg-position"] == "EVT:5"


async def test_a_key_is_shown_once_works_and_can_be_revoked(client: Client) -> None:
    headers = bearer((await registered(client))["access_token"])

    made = (await client.post("/api/v1/keys", json={"name": "laptop"}, headers=headers)).json()

    assert made["key"].startswith("agg_live_") and len(made["key"]) == 45
    for sent in (bearer(made["key"]), {"x-api-key": made["key"]}):
        assert (await client.get("/api/v1/users/profile", headers=sent)).status_code == 200
    listed = (await client.get("/api/v1/keys", headers=headers)).json()
    assert listed["data"] == [{name: value for name, value in made.items() if name != "key"}]
    assert (listed["has_more"], listed["next_cursor"]) == (False, None)
    revoked = await client.delete(f"/api/v1/keys/{made['id']}", headers=headers)
    assert (revoked.status_code, revoked.headers["x-agg-position"]) == (204, "EVT:6")
    refused = await client.get("/api/v1/users/profile", headers=bearer(made["key"]))
    assert (refused.status_code, refused.json()["detail"]) == (401, "This API key has been revoked.")


async def test_keys_are_listed_in_pages(client: Client) -> None:
    headers = bearer((await registered(client))["access_token"])
    for name in ("one", "two", "three"):
        await client.post("/api/v1/keys", json={"name": name}, headers=headers)

    first = (await client.get("/api/v1/keys?limit=2", headers=headers)).json()
    rest = (await client.get(f"/api/v1/keys?limit=2&cursor={first['next_cursor']}", headers=headers)).json()

    assert [row["name"] for row in first["data"] + rest["data"]] == ["three", "two", "one"]
    assert (first["has_more"], rest["has_more"]) == (True, False)


async def test_another_tenants_key_is_not_found(client: Client) -> None:
    ada = bearer((await registered(client))["access_token"])
    eve = bearer((await registered(client, email="eve@example.com"))["access_token"])
    key = (await client.post("/api/v1/keys", json={"name": "laptop"}, headers=ada)).json()

    for ident in (key["id"], "0" * 32, "a.b", "*", ">"):
        assert (await client.delete(f"/api/v1/keys/{ident}", headers=eve)).status_code == 404
    assert (await client.get("/api/v1/keys", headers=eve)).json()["data"] == []
    assert (await client.get("/api/v1/users/profile", headers=bearer(key["key"]))).status_code == 200


async def test_a_key_may_not_make_or_revoke_keys(client: Client) -> None:
    session = bearer((await registered(client))["access_token"])
    key = (await client.post("/api/v1/keys", json={"name": "laptop"}, headers=session)).json()

    made = await client.post("/api/v1/keys", json={"name": "more"}, headers=bearer(key["key"]))
    revoked = await client.delete(f"/api/v1/keys/{key['id']}", headers=bearer(key["key"]))

    assert (made.status_code, revoked.status_code) == (403, 403)
    assert made.json()["code"] == "not_allowed"


INVALID = [
    ({**ADA, "role": "admin"}, "/role", "There is no field 'role' here; remove it."),
    ({**ADA, "email": 5}, "/email", "Expected a string, got an integer."),
    ({"email": "a@b.example", "password": "12345678"}, "/name", "This field is required."),
    ({**ADA, "email": "nowhere"}, "/email", "This is no e-mail address; it looks like name@example.com."),
    ({**ADA, "password": "short"}, "/password", "A password has at least 8 characters."),
    ({**ADA, "name": "  "}, "/name", "A name has 1 to 200 printable characters."),
]


@pytest.mark.parametrize(("body", "pointer", "detail"), INVALID)
async def test_an_invalid_field_is_named(client: Client, body: dict[str, Any], pointer: str, detail: str) -> None:
    answer = await client.post(f"{AUTH}/register", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_value")
    assert answer.json()["errors"] == [{"detail": detail, "pointer": pointer}]


async def test_a_body_that_is_no_object_is_explained(client: Client) -> None:
    for content in (b"", b"[]", b"null", b'"x"'):
        answer = await client.post(f"{AUTH}/login", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 422, (content, answer.text)
        assert "object" in answer.json()["detail"], answer.text
    broken = await client.post(f"{AUTH}/login", content=b'{"email": ', headers={"content-type": "application/json"})
    assert (broken.status_code, broken.json()["code"]) == (400, "bad_request")
    assert "JSON" in broken.json()["detail"], broken.text


async def test_a_wrong_parameter_is_named(client: Client) -> None:
    headers = bearer((await registered(client))["access_token"])

    limit = await client.get("/api/v1/keys?limit=many", headers=headers)
    large = await client.get("/api/v1/keys?limit=500", headers=headers)
    position = await client.get("/api/v1/keys?min_position=EVT", headers=headers)

    assert limit.json()["errors"] == [{"detail": "Expected an integer, got a string.", "parameter": "limit"}]
    assert large.status_code == 422 and large.json()["errors"][0]["parameter"] == "limit"
    assert position.status_code == 422 and "EVT:5" in position.json()["detail"]


async def test_an_unknown_path_and_a_wrong_method_are_problems_too(client: Client) -> None:
    missing = await client.get("/api/v1/nothing")
    wrong = await client.delete(f"{AUTH}/login")

    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"]


async def test_a_stale_directory_lets_nobody_in(log: FollowedLog) -> None:
    tail = Beating()
    async with running(make_accounts(log, tail=tail)) as client:
        headers = bearer((await registered(client))["access_token"])
        tail.stopped = True

        answer = await client.get("/api/v1/users/profile", headers=headers)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


class Broken:
    """A read model that fails in a way nobody thought of."""

    async def user(self, user_id: UserId, *, min_position: int) -> UserRow | None:
        raise RuntimeError("the database password is 1234")

    async def keys(self, account_id: AccountId, *, cursor: str | None, limit: int, min_position: int) -> Page[KeyRow]:
        raise NotImplementedError


async def test_an_unexpected_failure_tells_no_internals(log: FollowedLog) -> None:
    accounts = replace(make_accounts(log), reads=Broken())
    async with running(accounts, raise_server_exceptions=False) as client:
        headers = bearer((await registered(client))["access_token"])

        with capture_logs() as logged:
            answer = await client.get("/api/v1/users/profile", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "1234" not in answer.text
    assert logged[0]["event"] == "request_failed" and logged[0]["request_id"] == answer.json()["request_id"]


async def test_a_sane_request_id_is_taken_over_and_another_is_not(client: Client) -> None:
    sane = await client.get("/api/v1/nothing", headers={"x-request-id": "trace-0123456789"})
    insane = await client.get("/api/v1/nothing", headers={"x-request-id": "<script>"})

    assert sane.json()["request_id"] == sane.headers["x-request-id"] == "trace-0123456789"
    assert insane.json()["request_id"] == insane.headers["x-request-id"] != "<script>"
