"""The page at `/`, wherever the console is served, and nowhere else."""

import re
from typing import Any

import pytest
from litestar.testing import TestClient

from api.asgi import ALL_PARTS, Application
from api.openapi import CONTENT_SECURITY_POLICY
from api.parts import Part
from api.settings import load_settings


def client_of(parts: frozenset[Part]) -> TestClient[Any]:
    """The lifespan does not run: the page needs no services."""
    return TestClient(Application(load_settings({}), parts=parts).litestar)


def test_the_page_says_how_to_ask_and_names_only_what_is_served_here() -> None:
    client = client_of(ALL_PARTS)
    page = client.get("/")

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "/v1/chat/completions" in page.text
    for address in re.findall(r'(?:src|href)="(/docs[^"]*)"', page.text):
        assert client.get(address).status_code == 200, address
    assert "{console" not in page.text


@pytest.mark.parametrize(("parts", "status"), [({"console"}, 200), ({"ai", "auth"}, 404)])
def test_only_who_serves_the_console_has_it(parts: set[Part], status: int) -> None:
    assert client_of(frozenset(parts)).get("/").status_code == status
