"""Callers of the running program: somebody with an account, and reads that wait for what they caused."""

import time
from dataclasses import dataclass
from typing import Any

import httpx

from tests.e2e.running import PATIENCE_S, POLL_S, Program

PASSWORD = "correct horse battery staple"
COUNT = iter(range(1_000_000))
NO_CERTIFICATES = False
"""It speaks plain HTTP, and reading them takes longer than most answers."""


def client_of(base_url: str, credential: str = "") -> httpx.Client:
    headers = {"authorization": f"Bearer {credential}"} if credential else {}
    return httpx.Client(base_url=base_url, headers=headers, trust_env=False, timeout=30, verify=NO_CERTIFICATES)


def is_ready(base_url: str) -> bool:
    with client_of(base_url) as client:
        try:
            return client.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False


@dataclass
class Person:
    """`tokens` is what registering answered."""

    email: str
    tokens: dict[str, Any]
    position: str

    @property
    def access(self) -> str:
        return self.tokens["access_token"]

    @property
    def refresh(self) -> str:
        return self.tokens["refresh_token"]


def register(base_url: str) -> Person:
    email = f"person{next(COUNT)}@example.com"
    with client_of(base_url) as client:
        answer = client.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD, "name": "Person"})
    assert answer.status_code == 201, answer.text
    return Person(email, answer.json(), answer.headers["x-agg-position"])


def make_key(base_url: str, access_token: str) -> dict[str, Any]:
    with client_of(base_url, access_token) as client:
        answer = client.post("/api/v1/keys", json={"name": "a key"})
    assert answer.status_code == 201, answer.text
    return answer.json()


def ended_request(program: Program, request_id: str) -> dict[str, Any]:
    """The request as the read model shows it, once it has ended."""
    give_up = time.monotonic() + PATIENCE_S
    with client_of(program.base_url, program.api_key) as client:
        while time.monotonic() < give_up:
            answer = client.get(f"/api/v1/requests/{request_id}")
            if answer.status_code == 200 and answer.json()["data"]["status"] != "open":
                return answer.json()["data"]
            time.sleep(POLL_S)
    raise AssertionError(f"request {request_id} has not ended")
