"""The declared catalogue through HTTP: administrators alone, all or nothing, and live when the answer is here."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.testing import AsyncTestClient

from adapters.catalog.declared_provider import DeclaredProvider
from api.accounts import Accounts
from api.compose import Services
from api.dependencies import provide_caller
from api.error_handlers import EXCEPTION_HANDLERS
from api.model_names import ModelNames
from api.request_id import add_request_id, new_id
from api.routes.admin_catalog import AdminCatalogController
from api.routes.auth import AuthController
from api.routes.models import ModelsController
from commands.register import Register
from commands.store import Cause
from domain.ids import CommandId
from tests.accounts import FollowedLog, make_accounts
from tests.declaring import NOW, Operator, deployment, names_in, route

URL = "/api/v1/admin/catalog"
PASSWORD = "correct horse"
GROQ = DeclaredProvider(name="groq", base_url="https://api.groq.com/openai/v1", api_key_env="GROQ_API_KEY")
FAST: dict[str, Any] = {
    "deployments": [
        {"name": "eu", "model": "gpt-4o", "provider": "openai", "upstream_model": "gpt-4o", "limits": {"rpm": 500}},
        {"name": "llama", "model": "o3", "provider": "groq", "upstream_model": "llama", "key_ref": "GROQ_API_KEY"},
    ],
    "routes": [{"name": "fast", "deployments": ["eu", "llama"], "cache": {"ttl_s": 60, "max_bytes": 1000}}],
    "limits": [{"scope": "key", "subject": "*", "spend_usd_per_day": "5.00"}],
}


@dataclass
class House:
    accounts: Accounts
    operator: Operator
    log: FollowedLog
    client: AsyncTestClient[Litestar]

    async def put(self, body: Any, who: str = "admin") -> Any:
        return await self.client.put(URL, json=body, headers=await self.headers(who))

    async def get(self, url: str = URL, who: str = "admin") -> Any:
        return await self.client.get(url, headers=await self.headers(who))

    async def headers(self, who: str) -> dict[str, str]:
        credentials = {"email": f"{who}@example.com", "password": PASSWORD}
        answer = await self.client.post("/api/v1/auth/login", json=credentials)
        return {"authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.fixture
async def house() -> AsyncIterator[House]:
    log = FollowedLog()
    accounts, operator = make_accounts(log), Operator(log)
    names = ModelNames(accounts.directory, {"openai": SimpleNamespace()}, unlisted=False)  # type: ignore[dict-item]
    parts: dict[str, Any] = dict.fromkeys(Services.__dataclass_fields__)
    parts |= {"apply_catalog": operator.handler, "declared_providers": (GROQ,), "models": names}
    services = Services(**parts)
    app = Litestar(
        [Router("/api/v1", route_handlers=[AuthController, AdminCatalogController, ModelsController])],
        dependencies={
            "accounts": Provide(lambda: accounts, sync_to_thread=False),
            "services": Provide(lambda: services, sync_to_thread=False),
            "caller": provide_caller,
        },
        exception_handlers=EXCEPTION_HANDLERS,
        before_send=[add_request_id],
        openapi_config=None,
        logging_config=None,
    )
    await operator.apply()
    for role in ("admin", "member"):
        command = Register(email=f"{role}@example.com", password=PASSWORD, name=role, role=role)
        await accounts.register.handle(command, Cause(CommandId(new_id()), NOW, "test"))
    async with AsyncTestClient(app) as client:
        yield House(accounts, operator, log, client)


async def test_what_is_put_is_live_when_it_is_answered_and_read_as_it_was_sent(house: House) -> None:
    answer = await house.put(FAST)

    assert answer.status_code == 200, answer.text
    assert answer.headers["x-agg-position"].startswith("EVT:")
    assert answer.json()["changes"][0] == {"kind": "deployment", "name": "eu", "action": "added"}
    assert names_in(house.accounts.directory) == {
        "deployments": {"eu", "llama"},
        "routes": {"fast"},
        "limits": {"key:*"},
    }
    read = (await house.get()).json()
    assert {name: read[name] for name in FAST} == FAST
    assert [provider["name"] for provider in read["providers"]] == ["groq"]
    assert (await house.put(read)).json() == {"changes": []}


async def test_what_is_put_replaces_what_a_file_declared(house: House) -> None:
    await house.operator.apply(deployment("file"), route("old", "file"))

    answer = await house.put(FAST)

    assert {"kind": "route", "name": "old", "action": "removed"} in answer.json()["changes"]
    assert "old" not in house.accounts.directory.routes()


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"routes": [{"name": "fast", "deployments": ["eu", "asia"]}]}, "/routes/0/deployments/1"),
        ({"routes": [{"name": "fast", "deployments": ["eu"], "colour": 1}]}, "/routes/0/colour"),
        ({"limits": [{"scope": "key", "subject": "*"}]}, "/limits/0"),
        ({"limits": [{"scope": "key", "subject": "*", "spend_usd_per_day": 5}]}, "/limits/0/spend_usd_per_day"),
        ({"deployments": []}, "/routes/0/deployments/0"),
        ({"providers": []}, "/providers"),
        ({"models": []}, "/models"),
    ],
)
async def test_a_mistake_is_named_by_its_place_and_nothing_is_written(
    house: House, change: dict[str, Any], pointer: str
) -> None:
    before = [type(fact).__name__ for fact in house.log.facts]

    answer = await house.put({**FAST, **change})

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert [type(fact).__name__ for fact in house.log.facts] == [*before, "SessionOpened"]


async def test_members_may_neither_read_nor_replace_it(house: House) -> None:
    assert (await house.get(who="member")).status_code == 403
    assert (await house.put(FAST, who="member")).status_code == 403
    assert (await house.client.get(URL)).status_code == 401


async def test_a_route_is_listed_among_the_models_that_may_be_asked_for(house: House) -> None:
    await house.put(FAST)

    listed = (await house.get("/api/v1/models", "member")).json()
    one = (await house.get("/api/v1/models/fast", "member")).json()

    assert [model["id"] for model in listed["data"]] == ["fast", "embed", "gpt-4o", "o3"]
    assert listed["data"][0] == one
    assert (one["owned_by"], one["context_length"], "deployments" in one) == ("route", 100, False)
