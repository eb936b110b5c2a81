"""What /docs says is what the routes do, and it needs nobody else's server."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient

from api.asgi import Application
from api.assets import mistakes
from api.errors import KINDS
from api.openapi import CONTENT_SECURITY_POLICY, document
from api.openapi_schemas import simplify, without_null
from api.settings import load_settings


@pytest.fixture(scope="module")
def application() -> Application:
    return Application(load_settings({}))


@pytest.fixture(scope="module")
def described(application: Application) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(document(application.litestar)))


@pytest.fixture
def operations(described: dict[str, Any]) -> dict[str, Any]:
    return {op["operationId"]: op for item in described["paths"].values() for op in item.values()}


@pytest.fixture(scope="module")
def client(application: Application) -> TestClient[Any]:
    """The lifespan does not run: the page needs no services."""
    return TestClient(application.litestar)


def names(operation: dict[str, Any]) -> set[str]:
    return {parameter["name"] for parameter in operation.get("parameters", ())}


def test_every_operation_has_a_tag_that_is_explained_and_a_summary(
    described: dict[str, Any], operations: dict[str, Any]
) -> None:
    explained = {tag["name"] for tag in described["tags"] if tag["description"]}

    assert all(operation["summary"] and set(operation["tags"]) <= explained for operation in operations.values())


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    text = msgspec.json.encode(described).decode()

    assert set(re.findall(r"#/components/schemas/(\w+)", text)) <= described["components"]["schemas"].keys()


def test_who_needs_a_credential_says_so(operations: dict[str, Any], described: dict[str, Any]) -> None:
    open_to_all = {name for name, operation in operations.items() if not operation["security"]}

    assert open_to_all == {"register", "log_in", "refresh_session", "health", "ready", "live", "metrics"}
    assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert all("401" in operation["responses"] for operation in operations.values() if operation["security"])


def test_reads_take_a_position_and_writes_answer_one(operations: dict[str, Any]) -> None:
    assert {"min_position", "x-agg-min-position"} <= names(operations["read_balance"]) & names(operations["list_keys"])
    assert "x-agg-position" in operations["issue_key"]["responses"]["201"]["headers"]
    assert "x-agg-cost-usd" in operations["create_chat_completion"]["responses"]["200"]["headers"]


def test_errors_are_described_in_the_words_of_the_route(operations: dict[str, Any]) -> None:
    refused = operations["create_chat_completion"]["responses"]["402"]

    assert "x-should-retry" in refused["headers"]
    assert list(refused["content"]) == ["application/json"]
    assert list(operations["issue_key"]["responses"]["422"]["content"]) == ["application/problem+json"]


def test_every_status_that_an_ai_route_answers_is_described(operations: dict[str, Any]) -> None:
    answered = {str(kind.status) for kind in KINDS.values()} - {"403", "500"}

    for name in ("create_chat_completion", "create_message"):
        assert answered <= operations[name]["responses"].keys()


def test_codes_for_programs_are_those_that_errors_have(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    problem, openai = schemas["Problem"], schemas["OpenAIError"]["properties"]["error"]

    for error in (problem, openai):
        assert error["properties"]["code"]["examples"] == sorted({kind.code for kind in KINDS.values()})
    assert "deployments_full" in problem["properties"]["code"]["examples"]


def test_what_is_for_administrators_says_so(operations: dict[str, Any]) -> None:
    theirs = {name: operation for name, operation in operations.items() if "admin" in operation["tags"]}

    assert theirs.keys() >= {"read_catalog", "replace_catalog", "read_providers", "purge_cache"}
    assert all("403" in operation["responses"] for operation in theirs.values())


def test_an_answer_from_the_cache_and_one_within_limits_say_so(operations: dict[str, Any]) -> None:
    told = operations["create_chat_completion"]["responses"]["200"]["headers"].keys()

    assert {"x-agg-cache", "x-agg-cache-similarity", "ratelimit", "ratelimit-policy", "x-agg-degraded"} <= told


def test_the_page_names_only_what_is_served_here(client: TestClient[Any]) -> None:
    page = client.get("/docs")

    assert page.status_code == 200
    assert page.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY and "//" not in page.text
    for address in re.findall(r'(?:src|href|spec-url)="(/[^"]+)"', page.text):
        assert client.get(address).status_code == 200, address


def test_only_scripts_and_styles_are_handed_out(client: TestClient[Any]) -> None:
    script = client.get("/docs/assets/rapidoc/rapidoc.min.js")

    assert script.headers["content-type"].startswith("text/javascript")
    assert "immutable" in script.headers["cache-control"]
    for name in ("manifest.json", "__init__.py", "../openapi.py", "%2e%2e/openapi.py"):
        assert client.get(f"/docs/assets/{name}").status_code == 404


def test_a_vendored_file_that_was_changed_or_slipped_in_is_found(tmp_path: Path) -> None:
    (tmp_path / "ui").mkdir()
    (tmp_path / "ui" / "changed.js").write_text("changed")
    (tmp_path / "ui" / "unlisted.js").write_text("unlisted")
    files = {"ui/changed.js": "0" * 64, "ui/missing.js": "0" * 64}
    package = {"package": "ui", "version": "1", "license": "MIT", "files": files}
    (tmp_path / "manifest.json").write_bytes(msgspec.json.encode({"packages": [package]}))

    assert [line.partition(":")[0] for line in mistakes(tmp_path)] == [
        *["ui/changed.js", "ui/missing.js", "ui/unlisted.js"]
    ]
    assert mistakes() == []


def test_a_value_that_may_be_null_has_two_types_and_an_enum_has_one() -> None:
    maybe = {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}], "default": None, "title": "_Maybe"}
    either = {"oneOf": [{"$ref": "#/components/schemas/X"}, {"type": "null"}]}

    simple = simplify(maybe)

    assert simple == {"enum": ["a", "b", None], "type": ["string", "null"], "default": None, "title": "Maybe"}
    assert without_null(simple)["type"] == "string" and None not in without_null(simple)["enum"]
    assert simplify(either) == either
